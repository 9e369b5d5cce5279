"""`paretokit bench`: every bench runs and says what it found; figures of speed are measured here, never asserted."""

import itertools
import json
import math
import sys

import pytest
import torch

from paretokit.cli import browser, main
from paretokit.cli.bench import NAMES, baselines, benches, guided, memory, report, steps
from paretokit.cli.bench.report import Goal, Row
from paretokit.cli.bench.settings import Settings
from paretokit.cli.bench.timing import Paired, Ratio, alternate, timed
from paretokit.errors import DependencyError, ParetokitError
from paretokit.models.load import load_policy

ROWS = {"dpo": 1, "raco": 3, "passes": 2, "full": 6, "solver": 2, "memory": 1, "prefix": 1, "heads": 5, "guided": 3}
FIELDS = {
    "bench", "what", "against", "sizes", "ratio", "ratio_of", "spread", "goal", "met", "repeats", "unit",
    "median_ours", "median_against", "ours", "theirs",
}  # fmt: skip
MACHINE = {"device", "cpu", "cores", "threads", "capability", "bf16", "load", "versions", "date"}


def row(*, kind="faster", value=2.5, ours=(1.0, 1.0), theirs=(3.0, 4.0), comparable=True) -> Row:
    return Row("dpo", "a step", "another", Goal(kind, value), Paired(ours, theirs), "s", "8 pairs", comparable)


def test_the_two_are_measured_in_turn_and_only_the_turns_after_the_warm_up_count():
    order, told, clock = [], [], itertools.count()

    def side(name: str, steps: int):
        def action() -> None:
            order.append(name)
            for _ in range(steps):
                next(clock)

        return timed(action, clock=lambda: float(next(clock)))

    found = alternate(side("a", 1), side("b", 5), repeats=3, warmup=1, watch=told.append)
    assert "".join(order) == "abababab"
    assert told == ["warm-up", "turn 1 of 3", "turn 2 of 3", "turn 3 of 3"]
    assert found == Paired((2.0, 2.0, 2.0), (6.0, 6.0, 6.0))
    assert found.faster() == Ratio(3.0, 3.0, 3.0)


def test_a_time_is_divided_by_how_much_was_done():
    clock = iter([10.0, 14.0])
    assert timed(lambda: None, per=8, clock=lambda: next(clock))() == 0.5


def test_ratios_are_of_medians_and_the_spread_is_over_turns():
    found = Paired((1.0, 2.0, 9.0), (4.0, 4.0, 9.0))
    assert found.medians == (2.0, 4.0)
    assert found.faster() == Ratio(2.0, 1.0, 4.0)
    assert found.cost() == Ratio(0.5, 0.25, 1.0)


@pytest.mark.parametrize(
    ("changes", "met"),
    [
        ({}, True),
        ({"value": 3.6}, False),
        ({"kind": "cost", "value": 0.3}, True),
        ({"kind": "cost", "value": 0.25}, False),
        ({"comparable": False}, None),
        ({"value": None}, None),
    ],
)
def test_a_goal_is_met_in_its_own_direction_and_only_where_it_is_stated(changes, met):
    assert row(**changes).met is met


def test_a_ratio_without_a_goal_promises_nothing():
    assert str(Goal("faster")) == "-"
    assert row(value=None).cells()[-2:] == ["-", "-"]
    assert row(value=None).to_json()["goal"] == "-"


def test_the_names_of_the_shell_are_the_benches():
    assert tuple(benches.BENCHES) == NAMES == tuple(ROWS)


@pytest.mark.slow
def test_every_bench_runs_and_says_what_it_found(tmp_path, capsys):
    threads = torch.get_num_threads()
    assert main(["bench", "all", "--quick", "--json", "--out", str(tmp_path / "bench.json")]) == 0
    printed, told = capsys.readouterr()
    found = json.loads(printed, parse_constant=pytest.fail)  # no NaN
    assert found == json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))
    assert set(found["machine"]) == MACHINE
    assert found["machine"]["threads"] == threads
    assert {"torch", "transformers", "trl", "torchjd", "paretokit"} <= set(found["machine"]["versions"])
    assert {name: sum(one["bench"] == name for one in found["rows"]) for name in NAMES} == ROWS
    for one in found["rows"]:
        assert set(one) == FIELDS
        assert one["repeats"] == len(one["ours"]) == len(one["theirs"]) == 1
        assert one["ratio"] > 0
        assert one["spread"] == pytest.approx([one["ratio"]] * 2)
        assert min(one["ours"] + one["theirs"]) > 0
        assert one["met"] is None  # not the sizes that goals are stated for
        assert f"{one['what']}: turn 1 of 1" in told


def test_what_is_printed_for_people_and_for_the_readme(monkeypatch, capsys):
    monkeypatch.setitem(benches.BENCHES, "dpo", lambda settings: iter([row()]))
    assert main(["bench", "dpo", "--markdown"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "| a step | another | 3.5x (3-4) | >= 2.5x faster |"
    assert lines[4].startswith("Measured by `paretokit bench` on ")
    assert main(["bench", "dpo", "dpo"]) == 0  # once
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == list(report.HEADINGS)
    assert [line.startswith("a step") for line in lines].count(True) == 1
    assert "torch threads" in lines[-1]


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt(), 130), (ParetokitError("memory: it failed. Try again."), 1)]
)
def test_what_was_finished_is_printed_when_a_run_ends_early(error, status, monkeypatch, capsys):
    def two(settings):
        yield row()
        raise error

    monkeypatch.setitem(benches.BENCHES, "raco", two)
    assert main(["bench", "raco", "--json"]) == status
    assert [one["what"] for one in json.loads(capsys.readouterr().out)["rows"]] == ["a step"]


@pytest.mark.parametrize(("bench", "package"), [("dpo", "trl"), ("solver", "torchjd")])
def test_a_missing_package_names_the_remedy(bench, package, monkeypatch, capsys):
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["bench", bench, "--quick"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"paretokit bench: {package}: cannot be imported (")
    assert line.endswith("). Install it with: pip install 'paretokit[dev]'")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["dpo", "ui"], "what: found dpo ui, expected ui alone, since it measures in a browser. Run it by itself."),
        (["ui", "--quick"], "ui: found --quick, which it does not know. Leave them out."),
        (["dpo", "--json", "--markdown"], "--markdown: found beside --json, expected one of them. "),
        (["dpo", "--repeats", "0"], "--repeats: found 0, expected a whole number >= 1. "),
    ],
)
def test_options_that_do_not_go_together_are_refused(words, message, capsys):
    assert main(["bench", *words]) == 1
    assert capsys.readouterr().err.startswith(f"paretokit bench: {message}")


def test_both_sides_of_the_dpo_bench_do_the_same_work(tmp_path):
    """Equal losses at the start, and after steps on both sides still alike: only the drawn adapters differ."""
    made = steps.task("tiny", steps.Sizes(pairs=2, prompt=5, response=3))
    made = made._replace(references=made.references + torch.tensor([[0.0, 3.0], [1.0, 0.0]]))  # a margin that matters
    theirs = baselines.trl_step(made, tmp_path, bf16=False)
    labels = steps.random_labels(1, pairs=2)
    first = theirs()
    assert first == pytest.approx(steps.take_step(made, labels, method="linear").item(), abs=1e-5)
    second = theirs()
    assert second < first
    assert second == pytest.approx(steps.take_step(made, labels, method="linear").item(), abs=0.05)


@pytest.mark.parametrize(
    "how",
    [{"gradients": benches._our_passes}, {"gradients": baselines.passes_of_peft}, {"shared": False}],
    ids=["our passes", "peft's passes", "rows apart"],
)
def test_what_a_step_is_compared_with_takes_the_same_step(how):
    sizes = steps.Sizes(pairs=4, prompt=6, response=3)
    ours, theirs = steps.task("tiny", sizes), steps.task("tiny", sizes)
    labels = steps.random_labels(3, pairs=4)
    for _ in range(2):
        one = steps.take_step(ours, labels, method="raco")
        other = steps.take_step(theirs, labels, method="raco", **how)
    torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    assert (one - math.log(2)).abs().max() > 1e-3  # something was learnt


def test_what_is_silenced_for_trl_is_restored():
    import datasets
    import huggingface_hub.constants as hub

    before = hub.HF_HUB_OFFLINE, datasets.are_progress_bars_disabled()
    with baselines.silent():
        assert hub.HF_HUB_OFFLINE
    assert (hub.HF_HUB_OFFLINE, datasets.are_progress_bars_disabled()) == before


def test_a_process_that_fails_is_an_error():
    with pytest.raises(ParetokitError, match=r"memory, plain: the process that was measured failed \(.*\)\. Is there"):
        memory.grown("plain", memory.Head(positions=1, hidden=1, vocabulary=-1))()


def test_a_missing_browser_names_the_remedy(monkeypatch, capsys):
    monkeypatch.setattr(browser.shutil, "which", lambda name: None)
    assert main(["bench", "ui"]) == 1
    assert capsys.readouterr().err == (
        "paretokit bench: chromium: not found on the PATH. Install it, on Debian with: apt-get install -y chromium\n"
    )


def test_what_is_measured_must_be_named(capsys):
    with pytest.raises(SystemExit):
        main(["bench", "nothing"])
    assert "invalid choice: 'nothing'" in capsys.readouterr().err


def test_a_server_that_dies_is_reported_with_its_output(tmp_path, monkeypatch):
    monkeypatch.setattr(browser.sys, "executable", "/bin/false")
    with (
        pytest.raises((DependencyError, browser.ModelError), match="no answer at"),
        browser.lab_server(tmp_path),
    ):
        pass


def test_guided_decoding_makes_the_same_texts_on_all_sides():
    """In float64: in float32 a text that is read again may round to another choice."""
    settings = Settings(policy=None, repeats=None, quick=True, bf16=False, device=torch.device("cpu"), say=print)
    work = guided._work(settings, "tiny")
    policy = load_policy("tiny", adapter="none", dtype="float64")
    work = work._replace(policy=policy, reward_model=guided._reward_model(policy))
    texts = guided.batched(work)
    assert all(texts)
    assert texts == guided.one_by_one(work, keep=True) == guided.one_by_one(work, keep=False)
