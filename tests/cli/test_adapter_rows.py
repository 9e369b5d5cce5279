"""What the doctor says of a family and of its adapter."""

import torch
from support.family_cases import tiny_model

from paretokit.cli.adapter_rows import adapter_facts, adapter_rows
from paretokit.models import lora
from paretokit.models.targets import adapted


def worn(case):
    generator = torch.Generator().manual_seed(0)
    return adapted(lora.attach(tiny_model(case), lora.default_config(), dtype=torch.float32, generator=generator))


def test_a_listed_family_with_what_is_left_out_and_why():
    rows = adapter_rows(worn("falcon_h1"))
    assert rows[0] == ("family", "Falcon-H1 (Mamba branches are left alone; logits are multiplied)")
    assert rows[1][0] == "adapter targets"
    assert "self_attn.q_proj (2)" in rows[1][1]
    assert ("no adapter on", "state-space layer: mamba.in_proj, mamba.out_proj") in rows
    assert ("no adapter on", "output projection: lm_head") in rows


def test_a_family_that_is_not_listed():
    found = worn("nanochat")
    assert adapter_rows(found)[0] == ("family", "not in the list; adapter targets by structure")
    facts = adapter_facts(found)
    assert facts["family"] is None
    assert facts["targets"]["mlp.fc1"] == 2


def test_many_places_are_counted_and_all_of_them_are_in_the_json():
    found = worn("gemma3")
    (row,) = [text for name, text in adapter_rows(found) if text.startswith("vision or audio tower")]
    assert row.endswith("more")
    assert len(adapter_facts(found)["left out"]["vision or audio tower"]) > 6


def test_without_an_adapter_there_is_nothing_to_leave_out():
    found = adapted(tiny_model("llama"))
    assert adapter_rows(found) == [("family", "Llama 2 and 3"), ("adapter targets", "none: no adapter")]
    assert adapter_facts(found) == {"family": "Llama 2 and 3", "targets": {}, "left out": {}}
