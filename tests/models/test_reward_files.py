"""A saved reward model comes back as it was, or not at all: nothing missing, surplus, of another base or half loaded."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.models_cases import disturb
from support.reward_cases import KINDS, PROMPTS, STEPS

from paretokit.errors import ModelError, StoreError
from paretokit.maths.calibration import measure, temperature
from paretokit.models import reward_files, saving
from paretokit.models.load import load_policy, load_reward_model
from paretokit.models.reward_report import ObjectiveReport, RewardReport
from paretokit.models.rewards import RewardModel, new_reward_model
from paretokit.models.tiny import random_policy

Z, Y = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([1.0, 1.0, 0.0])
REPORT = RewardReport(
    {
        "worth": ObjectiveReport("value", 0, 4, None, None, None, 0.1, 0.2, 0.3),
        "right": ObjectiveReport("class", 3, 3, temperature(Z, Y), measure(Z, Y), measure(Z / 2, Y)),
        "kind": ObjectiveReport("preference", 0, 0, None, None, None),
    },
    trained=8,
    fitted=1,
    measured=2,
    cut_steps=3,
    cut_texts=0,
)


@pytest.fixture(scope="module")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain transformers folder."""
    folder = tmp_path_factory.mktemp("models") / "base"
    random_policy("llama", adapter="none").export(folder)
    return folder


def made(base: Path, *, adapter: str = "lora", width: int | None = None) -> RewardModel:
    model = new_reward_model(disturb(load_policy(base, adapter=adapter)), kinds=KINDS, width=width, seed=2)
    model.temperatures = {"worth": 1.0, "right": 0.7, "kind": 2.0}
    model.report = REPORT
    return model


@pytest.mark.parametrize("width", [None, 5])
@pytest.mark.parametrize("adapter", ["lora", "full", "none"])
def test_saved_and_loaded_is_the_same_model(base_folder: Path, tmp_path: Path, adapter: str, width: int | None) -> None:
    model = made(base_folder, adapter=adapter, width=width)
    model.save(tmp_path / "judge")
    loaded = load_reward_model(tmp_path / "judge")
    assert (loaded.kinds, loaded.temperatures, loaded.objectives) == (model.kinds, model.temperatures, model.objectives)
    assert (loaded.policy.adapter, loaded.outputs.width, loaded.frozen) == (adapter, width, adapter == "none")
    assert list(loaded.trainable) == list(model.trainable)
    assert all(torch.equal(part, model.trainable[name]) for name, part in loaded.trainable.items())
    found, expected = (one.step_scores(PROMPTS, STEPS) for one in (loaded, model))
    assert torch.equal(found.nan_to_num(9), expected.nan_to_num(9))
    assert (loaded.source, loaded.fingerprint) == (model.source, model.fingerprint)
    assert loaded.report.to_json() == REPORT.to_json()
    assert [path.name for path in tmp_path.iterdir()] == ["judge"]
    assert {path.suffix for path in (tmp_path / "judge").rglob("*") if path.is_file()} == {".json", ".safetensors"}
    loaded.save(tmp_path / "again")
    for file in (tmp_path / "judge").rglob("*"):
        if file.is_file():
            assert (tmp_path / "again" / file.relative_to(tmp_path / "judge")).read_bytes() == file.read_bytes()


def test_the_file_says_what_the_model_is(base_folder: Path, tmp_path: Path) -> None:
    model = made(base_folder, width=5)
    model.save(tmp_path / "judge")
    found = json.loads((tmp_path / "judge" / "reward.json").read_text())
    report = found.pop("report")
    assert found == {
        "base": str(base_folder),
        "base_hash": model.policy.base_hash,
        "adapter": "lora",
        "objectives": ["worth", "right", "kind"],
        "kinds": KINDS,
        "temperatures": {"worth": 1.0, "right": 0.7, "kind": 2.0},
        "features": 32,
        "width": 5,
        "step_token": None,
        "format": 1,
    }
    assert report["objectives"]["worth"]["spearman"] == 0.3
    assert report["objectives"]["kind"]["squared_error"] is None
    assert set(load_file(tmp_path / "judge" / "outputs.safetensors")) == set(model.outputs.parameters())
    assert load_policy(tmp_path / "judge" / "backbone").adapter == "lora"


def test_a_report_goes_round_through_json() -> None:
    back = RewardReport.from_json(json.loads(json.dumps(REPORT.to_json())))
    assert back.to_json() == REPORT.to_json()
    assert (back.trained, back.fitted, back.measured, back.cut_steps, back.cut_texts) == (8, 1, 2, 3, 0)
    assert back.objectives["worth"] == REPORT.objectives["worth"]
    assert math.isnan(back.objectives["right"].squared_error)
    assert back.objectives["right"].temperature == REPORT.objectives["right"].temperature
    assert back.objectives["right"].before.reliability.counts == REPORT.objectives["right"].before.reliability.counts


def test_another_precision(base_folder: Path, tmp_path: Path) -> None:
    model = made(base_folder)
    model.save(tmp_path / "judge")
    wide = load_reward_model(tmp_path / "judge", dtype="float64")
    assert {part.dtype for part in wide.trainable.values()} == {torch.float64}
    found, expected = wide.step_scores(PROMPTS, STEPS), model.step_scores(PROMPTS, STEPS)
    torch.testing.assert_close(found, expected.double(), rtol=0, atol=1e-4, equal_nan=True)


def edit(**changes: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "reward.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def rewrite(folder: Path) -> None:
        path = folder / "outputs.safetensors"
        state = load_file(path)
        change(state)
        save_file(state, path, metadata={"format": "pt"})

    return rewrite


def backbone_edit(**changes: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "backbone" / "policy.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def both_hashes(folder: Path) -> None:
    edit(base_hash="0" * 64)(folder)
    backbone_edit(base_hash="0" * 64)(folder)


RIGHT = {"worth": "value", "just": "class", "kind": "preference"}
DAMAGES = {
    "missing tensor": (
        tensors(lambda state: state.pop("outputs.right.bias")),
        r"outputs\.safetensors: the weights do not fit the reward model: 1 missing \(outputs\.right\.bias\), none unexpected\. "
        r"Use weights saved from a reward model with the same base and adapter\.",
    ),
    "surplus tensor": (
        tensors(lambda state: state.update({"outputs.new.bias": torch.zeros(())})),
        r"none missing, 1 unexpected \(outputs\.new\.bias\)",
    ),
    "shape": (
        tensors(lambda state: state.update({"outputs.right.weight": torch.zeros(31)})),
        r"outputs\.right\.weight has shape \(31,\), expected \(32,\)",
    ),
    "no outputs": (lambda folder: (folder / "outputs.safetensors").unlink(), r"outputs\.safetensors: cannot be read"),
    "half a file": (
        lambda folder: (folder / "outputs.safetensors").write_bytes(b"{}"),
        r"outputs\.safetensors: cannot be read",
    ),
    "other base": (both_hashes, r"the weights of its base .* are not those it was trained on \(hash \w+, expected 000000"),
    "other backbone": (
        backbone_edit(base_hash="0" * 64),
        r"reward\.json: the backbone beside it is another one \(adapter 'lora' on a base with hash 0{12}, expected 'lora' on "
        r"\w{12}\)\. Save the reward model again\.",
    ),
    "other adapter": (edit(adapter="none"), r"the backbone beside it is another one"),
    "no adapter file": (
        lambda folder: (folder / "backbone" / "adapter_model.safetensors").unlink(),
        r"adapter_model\.safetensors: cannot be read",
    ),
    "other objectives": (
        edit(objectives=list(RIGHT), kinds=RIGHT, temperatures=dict.fromkeys(RIGHT, 1.0)),
        r"2 missing \(outputs\.just\.weight, outputs\.just\.bias\), 2 unexpected \(outputs\.right\.",
    ),
    "kinds of others": (
        edit(kinds=RIGHT),
        r"damaged \(ValueError: kinds of worth, just, kind, but the objectives are worth, right, kind\)\. Save the",
    ),
    "kind": (
        edit(kinds=KINDS | {"right": "clas"}),
        r"damaged \(ValueError: kind 'clas', but kinds are value, class, preference\)",
    ),
    "temperature": (
        edit(temperatures=dict.fromkeys(KINDS, 0.0)),
        r"damaged \(ValueError: temperatures \{.*\}, but they must be numbers > 0\)",
    ),
    "width": (edit(width=4), r"6 missing \(outputs\.worth\.hidden\.weight, .*"),
    "features": (edit(features=31), r"found outputs for hidden states of size 31, expected 32, that of the backbone"),
    "format": (edit(format=2), r"reward\.json: found format 2, expected 1\. Use the paretokit version that wrote it\."),
    "no json": (lambda folder: (folder / "reward.json").write_text("{"), r"reward\.json: damaged \(JSONDecodeError"),
    "unknown field": (edit(colour="red"), r"reward\.json: damaged \(TypeError: .*colour"),
    "no backbone": (
        lambda folder: (folder / "backbone" / "policy.json").unlink(),
        r"policy\.json: damaged \(FileNotFoundError",
    ),
    "report": (edit(report={"objectives": {}}), r"reward\.json: damaged \(TypeError"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_loading_is_strict(base_folder: Path, tmp_path: Path, damage: str) -> None:
    made(base_folder).save(tmp_path / "judge")
    load_reward_model(tmp_path / "judge")  # undamaged, it loads
    change, message = DAMAGES[damage]
    change(tmp_path / "judge")
    with pytest.raises(ModelError, match=message):
        load_reward_model(tmp_path / "judge")


def test_a_state_that_does_not_fit_changes_nothing(base_folder: Path, tmp_path: Path) -> None:
    model = made(base_folder)
    model.save(tmp_path / "judge")
    saved = reward_files.read_reward_file(tmp_path / "judge")
    tensors(lambda state: state.pop("outputs.kind.bias"))(tmp_path / "judge")
    policy = load_policy(base_folder)
    before = policy.trainable_state()
    with pytest.raises(ModelError, match="1 missing"):
        reward_files.restore(policy, folder=tmp_path / "judge", saved=saved)
    assert all(torch.equal(part, before[name]) for name, part in policy.trainable.items())


def test_what_is_no_reward_model_is_named(base_folder: Path, tmp_path: Path) -> None:
    load_policy(base_folder).save(tmp_path / "policy")
    for folder in (tmp_path / "policy", tmp_path / "nowhere"):
        with pytest.raises(ModelError) as caught:
            load_reward_model(folder)
        assert str(caught.value) == (
            f"reward model {str(folder)!r}: found no reward.json there, expected the folder that RewardModel.save wrote. Train "
            "one with train_reward_model; a policy is loaded with load_policy."
        )


def test_saving_again_replaces_a_reward_model_and_nothing_else(base_folder: Path, tmp_path: Path) -> None:
    model = made(base_folder)
    model.save(tmp_path / "judge")
    model.temperatures["right"] = 0.9
    model.save(tmp_path / "judge")
    assert load_reward_model(tmp_path / "judge").temperatures["right"] == 0.9
    model.policy.save(tmp_path / "policy")
    before = {path: path.read_bytes() for path in (tmp_path / "policy").iterdir()}
    with pytest.raises(StoreError, match="policy: exists and is not empty; expected a new folder"):
        model.save(tmp_path / "policy")
    assert {path: path.read_bytes() for path in (tmp_path / "policy").iterdir()} == before


def test_a_full_disk_leaves_nothing_half_written(base_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = made(base_folder)
    model.save(tmp_path / "judge")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def full(state: dict[str, torch.Tensor], path: Path, **options: object) -> None:
        path.write_bytes(b"the first half")
        raise OSError(28, "No space left on device")

    for module in (saving, reward_files):
        with monkeypatch.context() as patched:
            patched.setattr(module, "save_file", full)
            with pytest.raises(StoreError, match=r"judge: cannot be written \(.*No space left on device\)"):
                model.save(tmp_path / "judge")
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
