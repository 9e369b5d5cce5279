"""Held-out figures and temperatures: about prompts that nothing was fitted to, the same figures as by hand."""

import math

import pytest
import torch
from support.reward_cases import all_labels, reward_model, step_labels

from paretokit.maths.calibration import measure, smoothed, temperature
from paretokit.preferences.records import Preferences
from paretokit.preferences.step_labels import StepLabels
from paretokit.training.config import RewardConfig
from paretokit.training.reward_calibration import calibrate
from paretokit.training.rewards import prepare

CONFIG = RewardConfig(heldout=0.5, bins=4)


def model_of(kinds: dict[str, str] | None = None):
    model = reward_model("gpt2", kinds=kinds, adapter="none")
    model.temperatures = dict.fromkeys(model.kinds, 7.0)  # of an earlier fit
    return model


def test_figures_by_hand() -> None:
    model, labels = model_of(), all_labels(count=40)
    prepared = prepare(model, labels, config=CONFIG)
    report = calibrate(model, prepared, config=CONFIG)
    assert model.report is report
    examples, split = prepared.examples, prepared.split
    assert (report.trained, report.fitted, report.measured) == tuple(len({examples.prompts[e] for e in part}) for part in split)
    raw: dict[str, list[tuple[list[float], list[float]]]] = {}
    for part in (split.fitting, split.measuring):
        found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in model.kinds}
        for example in part:
            scores = [model.outputs(model.hidden([text])).detach() for text in examples.texts[example]]
            own = examples.labels[:, examples.first[example] : examples.first[example + 1]]
            for row, (name, kind) in enumerate(model.kinds.items()):
                if kind == "preference":
                    label = own[row, 0] if len(scores) == 2 else torch.tensor(0.0)
                    if label in (-1, 1):
                        found[name][0].append(float(scores[0][0, row] - scores[1][0, row]))
                        found[name][1].append(float(label > 0))
                elif len(scores) == 1:
                    for z, y in zip(scores[0][:, row].tolist(), own[row].tolist(), strict=True):
                        if not math.isnan(y):
                            found[name][0].append(z)
                            found[name][1].append(y)
        for name, pair in found.items():
            raw.setdefault(name, []).append(pair)
    for name, kind in model.kinds.items():
        (fit, fit_labels), (z, y) = ((torch.tensor(a).double(), torch.tensor(b).double()) for a, b in raw[name])
        mine = report.objectives[name]
        assert (mine.kind, mine.judged) == (kind, len(z))
        assert len(z) > 3  # planted: there is something to compare
        if kind == "value":
            assert model.temperatures[name] == 1.0
            assert mine.squared_error == pytest.approx(float(((z - y) ** 2).mean()))
            assert mine.variance == pytest.approx(float(((y - y.mean()) ** 2).mean()))
            assert (mine.temperature, mine.before, mine.after) == (None, None, None)
            continue
        if kind == "preference":  # both orders
            fit, fit_labels = torch.cat([fit, -fit]), torch.cat([fit_labels, 1 - fit_labels])
            z, y = torch.cat([z, -z]), torch.cat([y, 1 - y])
        best = temperature(fit, smoothed(fit_labels))
        assert mine.temperature.value == pytest.approx(best.value, rel=1e-6)
        assert model.temperatures[name] == (1.0 if best.at_bound else mine.temperature.value)
        assert mine.before.log_loss == pytest.approx(measure(z, y, bins=4).log_loss)
        assert mine.after.log_loss == pytest.approx(measure(z / model.temperatures[name], y, bins=4).log_loss)
        assert mine.before.auc == mine.after.auc == pytest.approx(measure(z, y).auc)
        assert len(mine.after.reliability.counts) == 4


def test_which_text_comes_first_means_nothing() -> None:
    labels = all_labels(count=40)[1]
    turned = Preferences(
        objectives=labels.objectives,
        prompts=labels.prompts,
        responses_a=labels.responses_b,
        responses_b=labels.responses_a,
        labels=-labels.labels,
    )
    reports = []
    for data in (labels, turned):
        model = model_of({"kind": "preference"})
        reports.append(calibrate(model, prepare(model, data, config=CONFIG), config=CONFIG).objectives["kind"])
    assert reports[0].judged == reports[1].judged
    for name in ("log_loss", "brier", "auc", "accuracy", "positive"):
        assert getattr(reports[0].after, name) == pytest.approx(getattr(reports[1].after, name), abs=1e-12)
    assert reports[0].after.positive == 0.5
    assert reports[0].temperature.value == pytest.approx(reports[1].temperature.value, rel=1e-9)


def test_a_scale_of_the_outputs_is_undone_by_the_temperature() -> None:
    """Log loss after calibration does not depend on how bold the outputs are."""
    labels = StepLabels(
        kinds={"right": "class"},
        prompts=[f"p{i}" for i in range(40)],
        steps=[[f"{i}" * (1 + i % 5)] for i in range(40)],
        labels=[{"right": [int((i * 7) % 3 > 0)]} for i in range(40)],
    )
    config = RewardConfig(heldout=0.8)
    found = []
    for scale in (1.0, 5.0):
        model = model_of({"right": "class"})
        with torch.no_grad():
            for part in model.outputs.parameters().values():
                part *= scale * 0.2
            model.outputs.parts["right"]["bias"] += scale * 0.3
        report = calibrate(model, prepare(model, labels, config=config), config=config).objectives["right"]
        assert not report.temperature.at_bound
        found.append((model.temperatures["right"], report.after.log_loss, report.before.log_loss))
    assert found[1][0] == pytest.approx(5 * found[0][0], rel=1e-6)
    assert found[1][1] == pytest.approx(found[0][1], abs=1e-9)
    assert abs(found[1][2] - found[0][2]) > 0.01  # planted: before, it does


def test_a_temperature_that_labels_do_not_determine_stays_1() -> None:
    """Labels that contradict the outputs on every text: the flatter the better, without end."""
    model = model_of({"right": "class"})
    steps = [[f"{i}" * (1 + i % 5)] for i in range(12)]
    prompts = [f"p{i}" for i in range(12)]
    raw = model.outputs(model.features(model.encode(prompts, steps))).detach()[:, 0]
    with torch.no_grad():
        model.outputs.parts["right"]["bias"] -= raw.median()
    wrong = [{"right": [int(z <= raw.median())]} for z in raw]
    labels = StepLabels(kinds={"right": "class"}, prompts=prompts, steps=steps, labels=wrong)
    report = calibrate(model, prepare(model, labels, config=CONFIG), config=CONFIG).objectives["right"]
    assert report.temperature.at_bound
    assert report.temperature.value == pytest.approx(100)
    assert model.temperatures == {"right": 1.0}
    assert report.before.log_loss == report.after.log_loss
    assert report.after.accuracy < 0.5


def test_few_labels_that_agree_do_not_make_a_model_bold_beyond_reason() -> None:
    """Eight positives, all on the right side: the probability is at most that of one more label of each class, 9/10."""
    labels = StepLabels(
        kinds={"right": "class"},
        prompts=[f"p{i}" for i in range(17)],
        steps=[["a"]] * 17,
        labels=[{"right": [1]}] * 17,
    )
    model = model_of({"right": "class"})
    for part in model.outputs.parameters().values():
        part.data.zero_()
    model.outputs.parts["right"]["bias"].data.fill_(0.5)
    prepared = prepare(model, labels, config=CONFIG)
    found = calibrate(model, prepared, config=CONFIG).objectives["right"].temperature
    assert not found.at_bound
    seen = len(prepared.split.fitting)
    assert 1 / (1 + math.exp(-0.5 / found.value)) == pytest.approx((seen + 1) / (seen + 2))


def test_nothing_held_out_says_nothing() -> None:
    model = model_of()
    config = RewardConfig(heldout=0)
    report = calibrate(model, prepare(model, all_labels(), config=config), config=config)
    assert set(model.temperatures.values()) == {1.0}
    assert (report.fitted, report.measured) == (0, 0)
    for name, found in report.objectives.items():
        assert (found.kind, found.fitted, found.judged) == (model.kinds[name], 0, 0)
        assert (found.temperature, found.before, found.after) == (None, None, None)
        assert math.isnan(found.squared_error)


def test_what_was_cut_is_in_the_report() -> None:
    kinds = {"worth": "value", "right": "class"}
    model = model_of(kinds)
    config = CONFIG.replace(max_length=40)
    prepared = prepare(model, step_labels(count=20), config=config)
    assert prepared.examples.cut_steps > 0
    assert calibrate(model, prepared, config=config).cut_steps == prepared.examples.cut_steps
