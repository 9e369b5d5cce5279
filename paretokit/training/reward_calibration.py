"""How well a reward model predicts on prompts that were held out, and the temperatures that make its probabilities fit.

Imports: `maths`, `models`, the other modules of this floor.
"""

import torch

from paretokit.maths.calibration import Temperature, measure, smoothed, temperature
from paretokit.maths.intervals import spearman
from paretokit.models.reward_report import ObjectiveReport, RewardReport
from paretokit.models.rewards import RewardModel
from paretokit.shapes import Float64, Tensor
from paretokit.training.config import RewardConfig
from paretokit.training.reward_examples import Examples, places_of
from paretokit.training.rewards import Prepared

__all__ = ["calibrate"]


def calibrate(model: RewardModel, prepared: Prepared, *, config: RewardConfig) -> RewardReport:
    """Return the figures of every objective on held-out prompts, and give the model its temperatures and this report.

    Temperatures of classes and preferences are fitted on one half of the held-out prompts, to labels that are `smoothed`;
    everything is measured on the other half, so that no figure is about a prompt that anything was fitted to. A temperature
    that the labels do not determine, because outputs and labels disagree so much that they ask for one beyond all bounds, is
    left at 1, and the report's `temperature` says so (`at_bound`). Untied pairs count in both orders, (a, b) and (b, a), since
    which text comes first means nothing. With nothing held out there is nothing to say: temperatures are 1, and figures are
    None or NaN.
    """
    examples, split = prepared.examples, prepared.split
    fitting, measuring = (_judged(model, examples, part) for part in (split.fitting, split.measuring))
    found: dict[str, ObjectiveReport] = {}
    for index, (name, kind) in enumerate(model.kinds.items()):
        seen, held = fitting[index], measuring[index]
        model.temperatures[name] = 1.0
        if kind == "value":
            found[name] = _of_value(*held)
            continue
        logits, classes = _both(kind, *seen)
        best = temperature(logits, smoothed(classes)) if len(logits) else None
        if best is not None and not best.at_bound:
            model.temperatures[name] = best.value
        found[name] = _of_logits(kind, *held, best=best, used=model.temperatures[name], fitted=len(seen[0]), bins=config.bins)
    prompts = [len({examples.prompts[e] for e in part}) for part in split]
    model.report = RewardReport(found, *prompts, cut_steps=examples.cut_steps, cut_texts=examples.cut_texts)
    return model.report


Judged = tuple[Float64[Tensor, " N"], Float64[Tensor, " N"]]


@torch.no_grad()
def _judged(model: RewardModel, examples: Examples, chosen: list[int]) -> list[Judged]:
    """For each objective: outputs and labels where it judged; for a preference differences, and whether a is preferred."""
    states = model.features([text for e in chosen for text in examples.texts[e]])
    scores = model.outputs(states.to(model.policy.device)).double().cpu().T
    labels = examples.labels[:, places_of(examples, chosen)[0]]
    found = []
    for kind, own, wanted in zip(model.kinds.values(), scores, labels, strict=True):
        if kind == "preference":
            untied = ~wanted.isnan() & (wanted != 0)
            found.append(((own - own.roll(-1))[untied], (wanted[untied] > 0).double()))
        else:
            known = ~wanted.isnan()
            found.append((own[known], wanted[known]))
    return found


def _both(
    kind: str, logits: Float64[Tensor, " N"], labels: Float64[Tensor, " N"]
) -> tuple[Float64[Tensor, " K"], Float64[Tensor, " K"]]:
    """Pairs in both orders."""
    return (torch.cat([logits, -logits]), torch.cat([labels, 1 - labels])) if kind == "preference" else (logits, labels)


def _of_value(scores: Float64[Tensor, " N"], labels: Float64[Tensor, " N"]) -> ObjectiveReport:
    count = len(scores)
    if not count:
        return ObjectiveReport("value", 0, 0, None, None, None)
    error, variance = float((scores - labels).square().mean()), float(labels.var(correction=0))
    return ObjectiveReport("value", 0, count, None, None, None, error, variance, spearman(scores, labels))


def _of_logits(
    kind: str,
    logits: Float64[Tensor, " N"],
    labels: Float64[Tensor, " N"],
    *,
    best: Temperature | None,
    used: float,
    fitted: int,
    bins: int,
) -> ObjectiveReport:
    count = len(logits)
    if not count:
        return ObjectiveReport(kind, fitted, 0, best, None, None)
    z, y = _both(kind, logits, labels)
    return ObjectiveReport(kind, fitted, count, best, measure(z, y, bins=bins), measure(z / used, y, bins=bins))
