"""Recipes for public step labels: from a record to responses as steps, with a label for each.

A recipe decides what the columns mean. Nothing is left out silently: what a recipe does not use is counted by its reason.
Imports: the standard library, `errors`, `prompts`, `files`, `step_cells` of this floor, and the other modules of this folder.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from paretokit.errors import DataError
from paretokit.preferences.files import Record
from paretokit.preferences.recipes.recipe import Asked, Recipe
from paretokit.preferences.recipes.values import question
from paretokit.preferences.step_cells import from_text
from paretokit.prompts import Prompt, as_prompt, as_text, describe

__all__ = ["STEP_RECIPES", "StepReading", "StepRow"]

Label = float | None


class StepRow(NamedTuple):
    """One response: its prompt, its S steps, and a label for each of them."""

    prompt: Prompt
    steps: tuple[str, ...]  # [S]
    labels: tuple[Label, ...]  # [S]; None: not labelled
    place: str = ""


class StepReading(NamedTuple):
    """What the `read` of a recipe for steps returns."""

    objective: str
    kind: str  # "value" or "class", as in `StepLabels`
    separator: str  # what the authors of the data put between steps
    rows: list[StepRow]
    left_out: Mapping[str, int]  # by its reason


Read = Callable[[Record, "Counter[str]"], Sequence[StepRow]]


def _recipe(
    name: str,
    *,
    title: str,
    source: str,
    columns: tuple[str, ...],
    objective: str,
    kind: str,
    rule: str,
    separator: str,
    licence: str,
    citation: str,
    read: Read,
    traps: tuple[str, ...],
) -> Recipe:
    """A recipe whose records are read one by one."""

    def read_all(records: Sequence[Record], asked: Asked) -> StepReading:
        rows: list[StepRow] = []
        left_out: Counter[str] = Counter()
        for record in records:
            with asked.faults.tolerated():
                counted: Counter[str] = Counter()
                made = read(from_text(record), counted)
                for number, row in enumerate(made):
                    place = record.place if len(made) == 1 else f"{record.place}, response {number}"
                    rows.append(row._replace(place=place))
                for reason in counted.elements():
                    asked.notes.leave_out(record.place, reason)
                left_out += counted
        return StepReading(asked.wanted((objective,))[0], kind, separator, rows, left_out)

    shape = _SHAPES.get(name, {})
    return Recipe(
        name=name,
        kind="steps",
        title=title,
        source=source,
        objectives=(objective,),
        forms=(columns,),
        rule=rule,
        licence=licence,
        citation=citation,
        read=read_all,
        open=True,
        traps=traps,
        knows=lambda fields: all(_has_shape(fields[name], kind) for name, kind in shape.items()),
    )


def _has_shape(value: Any, kind: type) -> bool:
    """Whether a field holds such a value, or the text of one."""
    return isinstance(value, kind) or (isinstance(value, str) and value.lstrip()[:1] == {dict: "{", list: "["}.get(kind))


_SHAPES: dict[str, dict[str, type]] = {  # what tells apart schemas that share the names of columns
    "prm800k": {"question": dict, "label": dict},
    "math-shepherd": {"input": str, "label": str},
    "processbench": {"steps": list},
}


# --- PRM800K ---


def _prm800k(row: Record, left_out: "Counter[str]") -> list[StepRow]:
    """The solution that the labeller followed, and for each alternative to one of its steps the solution up to it."""
    for flag, reason in (
        ("is_quality_control_question", "quality-control questions"),
        ("is_initial_screening_question", "screening questions"),
    ):
        if row.fields.get(flag) is True:
            left_out[reason] += 1
            return []
    asked, label = _part(row, "question", dict), _part(row, "label", dict)
    problem = _key(asked, "problem", place=f"{row.place}, field 'question'")
    prompt = question(as_text(problem, place=f"{row.place}, field 'question', 'problem'"))
    place = f"{row.place}, field 'label'"
    if label.get("finish_reason") == "bad_problem":
        left_out["bad problems"] += 1
        return []
    stages = _key(label, "steps", place=place)
    if not isinstance(stages, list):
        raise DataError(f"{place}, 'steps': found {describe(stages)}, expected a list.")
    texts: list[str] = []
    ratings: list[Label] = []
    found: list[StepRow] = []
    for index, stage in enumerate(stages):
        where = f"{place}, step {index}"
        completions, chosen = _completions(stage, place=where)
        for number, (text, rating) in enumerate(completions):
            if number == chosen:
                continue
            if text:
                found.append(StepRow(prompt, (*texts, text), (*ratings, rating)))
            else:
                left_out["empty step texts"] += 1
        follow = completions[chosen] if chosen is not None else _human(stage, place=where)
        if follow is None:
            if rest := len(stages) - index - 1:
                left_out["steps after one that no completion was chosen for"] += rest
            break
        if follow[0]:
            texts.append(follow[0])
            ratings.append(follow[1])
        else:
            left_out["empty step texts"] += 1
    path = StepRow(prompt, tuple(texts), tuple(ratings))
    if texts and not any(other.steps[: len(texts)] == path.steps for other in found):
        found.append(path)
    rated = [one for one in found if any(label is not None for label in one.labels)]
    left_out["responses without a rating"] += len(found) - len(rated)
    return rated


def _completions(stage: Any, *, place: str) -> tuple[list[tuple[str, Label]], int | None]:
    """The texts and ratings of a step's completions, and which of them the labeller went on with."""
    if not isinstance(stage, dict):
        raise DataError(f"{place}: found {describe(stage)}, expected an object with 'completions'.")
    listed = stage.get("completions") or []
    if not isinstance(listed, list):
        raise DataError(f"{place}, 'completions': found {describe(listed)}, expected a list.")
    found = [_completion(one, place=f"{place}, completion {number}") for number, one in enumerate(listed)]
    chosen = stage.get("chosen_completion")
    if chosen is not None and (isinstance(chosen, bool) or chosen not in range(len(found))):
        raise DataError(
            f"{place}, 'chosen_completion': found {describe(chosen)}, expected null or a number from 0 to {len(found) - 1}."
        )
    return found, None if chosen is None else int(chosen)


def _completion(one: Any, *, place: str) -> tuple[str, Label]:
    if not isinstance(one, dict):
        raise DataError(f"{place}: found {describe(one)}, expected an object with 'text' and 'rating'.")
    text, rating = as_text(_key(one, "text", place=place), place=f"{place}, 'text'"), _key(one, "rating", place=place)
    if rating is not None and (isinstance(rating, bool) or rating not in (-1, 0, 1)):
        raise DataError(f"{place}, 'rating': found {describe(rating)}, expected -1, 0, 1 or null.")
    return text, None if rating is None else float(rating)


def _human(stage: dict[str, Any], *, place: str) -> tuple[str, Label] | None:
    """The step that the labeller wrote, where no completion was good enough; nobody rated it unless it says so."""
    human = stage.get("human_completion")
    if human is None:
        return None
    if isinstance(human, str):
        return human, None
    if not isinstance(human, dict):
        raise DataError(f"{place}, 'human_completion': found {describe(human)}, expected null, text or an object with 'text'.")
    return _completion({"rating": None, **human}, place=f"{place}, 'human_completion'")


# --- Math-Shepherd ---

_MARK = "ки"  # one rare token of the tokenizer that its authors used; it follows each step
_FIRST = re.compile(r"Step\s*1\s*:")
_SIGN = re.compile(rf"(?:{_MARK}[ \t]*)?([+-])")


def _math_shepherd(row: Record, left_out: "Counter[str]") -> list[StepRow]:
    text, signed = (as_text(row.get(name), place=f"{row.place}, field {name!r}") for name in ("input", "label"))
    pieces = text.split(_MARK)
    if len(pieces) == 1:
        raise DataError(f"{row.place}, field 'input': found no mark {_MARK!r}, expected one after each step.")
    signs = _signs(pieces, signed, place=row.place)
    first = _FIRST.search("".join(pieces))
    if first is None:
        raise DataError(f"{row.place}, field 'input': found no 'Step 1:', expected it where the first step begins.")
    whole, start = "".join(pieces), first.start()
    ends, end = [], 0
    for piece in pieces[:-1]:
        end += len(piece)
        ends.append(end)
    kept = [(end, sign) for end, sign in zip(ends, signs, strict=True) if end > start]
    left_out["marks inside the question"] += len(ends) - len(kept)
    steps: list[str] = []
    labels: list[Label] = []
    before = start
    for end, sign in kept:
        step = whole[before:end].rstrip(" \t")  # the blank stood before the mark
        if step.strip():
            steps.append(step)
            labels.append(float(sign == "+"))
        else:
            left_out["empty step texts"] += 1
        before = end
    if rest := whole[before:].rstrip():
        steps.append(rest)
        labels.append(None)
    if not kept:
        raise DataError(f"{row.place}, field 'input': found no mark {_MARK!r} after 'Step 1:', expected one after each step.")
    return [StepRow(question(whole[:start].strip()), tuple(steps), tuple(labels))] if steps else []


def _signs(pieces: Sequence[str], signed: str, *, place: str) -> list[str]:
    """The + or - that `signed` has at the place of each mark, alone or behind the mark."""
    signs, at = [], 0
    for number, piece in enumerate(pieces):
        last = number == len(pieces) - 1
        if not signed.startswith(piece, at) and not (last and signed[at:].strip() == piece.strip()):
            raise DataError(
                f"{place}, field 'label': found another text than in 'input' near {describe(signed[at : at + 30])}."
            )
        if last:
            break
        at += len(piece)
        sign = _SIGN.match(signed, at)
        if sign is None:
            raise DataError(
                f"{place}, field 'label': found {describe(signed[at : at + 10])} at mark {number + 1}, expected '+' or '-'."
            )
        signs.append(sign.group(1))
        at = sign.end()
    return signs


# --- the others: lists of steps ---


def _trl_stepwise(row: Record, left_out: "Counter[str]") -> list[StepRow]:
    steps, labels = _list(row, "completions"), _list(row, "labels")
    _same_count(row, "labels", labels, steps)
    texts, kept = [], []
    for index, (step, label) in enumerate(zip(steps, labels, strict=True)):
        text = as_text(step, place=f"{row.place}, field 'completions', step {index}")
        if label is not None and label not in (0, 1):  # true and false are 1 and 0
            raise DataError(
                f"{row.place}, field 'labels', step {index}: found {describe(label)}, expected true (right) or false, or 1 or "
                "0."
            )
        if text:
            texts.append(text)
            kept.append(None if label is None else float(label))
        else:
            left_out["empty step texts"] += 1
    return _row(row, "prompt", texts, kept, left_out)


def _processbench(row: Record, left_out: "Counter[str]") -> list[StepRow]:
    steps, wrong = _list(row, "steps"), row.get("label")
    texts = [as_text(step, place=f"{row.place}, field 'steps', step {index}") for index, step in enumerate(steps)]
    if isinstance(wrong, bool) or not isinstance(wrong, (int, float)) or wrong != int(wrong) or not -1 <= wrong < len(steps):
        raise DataError(
            f"{row.place}, field 'label': found {describe(wrong)}, expected -1 (no wrong step) or the index of the first wrong "
            f"one, 0 to {len(steps) - 1}."
        )
    if wrong == -1 and row.fields.get("final_answer_correct") is False:
        raise DataError(
            f"{row.place}: found 'label' -1 (no wrong step) and 'final_answer_correct' false, expected a wrong step where the "
            "answer is wrong."
        )
    right = len(steps) if wrong == -1 else int(wrong)
    labels: list[Label] = [1.0 if index < right else 0.0 if index == right else None for index in range(len(steps))]
    kept = [(text, label) for text, label in zip(texts, labels, strict=True) if text]
    if not all(text or label is None or label for text, label in zip(texts, labels, strict=True)):
        raise DataError(f"{row.place}, field 'label': found the index of an empty step, {int(wrong)}, expected one with text.")
    left_out["empty step texts"] += len(texts) - len(kept)
    return _row(row, "problem", [text for text, _ in kept], [label for _, label in kept], left_out)


def _mahalo_value(row: Record, left_out: "Counter[str]") -> list[StepRow]:
    steps, values = _list(row, "response_steps"), _list(row, "step_value")
    _same_count(row, "step_value", values, steps)
    texts, kept = [], []
    for index, (step, value) in enumerate(zip(steps, values, strict=True)):
        text = as_text(step, place=f"{row.place}, field 'response_steps', step {index}")
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise DataError(
                f"{row.place}, field 'step_value', step {index}: found {describe(value)}, expected a number or null."
            )
        if text:
            texts.append(text)
            kept.append(value)
        else:
            left_out["empty step texts"] += 1
    return _row(row, "question", texts, kept, left_out)


# --- what they share ---


def _row(row: Record, prompt: str, steps: Sequence[str], labels: Sequence[Label], left_out: "Counter[str]") -> list[StepRow]:
    value = row.get(prompt)
    asked = as_prompt(question(value) if isinstance(value, str) else value, place=f"{row.place}, field {prompt!r}")
    if not steps or all(label is None for label in labels):
        left_out["responses without a label"] += 1
        return []
    return [StepRow(asked, tuple(steps), tuple(labels))]


def _list(row: Record, name: str) -> list[Any]:
    value = row.get(name)
    if not isinstance(value, list):
        raise DataError(f"{row.place}, field {name!r}: found {describe(value)}, expected a list with an item per step.")
    return value


def _same_count(row: Record, name: str, labels: Sequence[Any], steps: Sequence[Any]) -> None:
    if len(labels) != len(steps):
        raise DataError(
            f"{row.place}, field {name!r}: found {len(labels)} labels for {len(steps)} steps, expected one for each."
        )


def _part(row: Record, name: str, kind: type) -> Any:
    value = row.get(name)
    if not isinstance(value, kind):
        raise DataError(f"{row.place}, field {name!r}: found {describe(value)}, expected an object.")
    return value


def _key(found: Mapping[str, Any], name: str, *, place: str) -> Any:
    if name not in found:
        raise DataError(f"{place}: {name!r} is missing; found {', '.join(map(str, found)) or 'nothing'}.")
    return found[name]


_NOT_STATED = "none stated on the data set's card"
_UNKNOWN = "not known to paretokit: read the data set's card"

STEP_RECIPES: tuple[Recipe, ...] = (
    _recipe(
        "prm800k",
        title="PRM800K: people's ratings of each step",
        source="github.com/openai/prm800k",
        columns=("question", "label"),
        objective="correctness",
        kind="value",
        rule=(
            "people's ratings as numbers: 1 right, 0 neither wrong nor progress, -1 wrong; every alternative to a step is "
            "a response of its own, a step that the labeller wrote is not rated"
        ),
        separator="\n",
        licence="MIT",
        citation="Lightman et al., Let's Verify Step by Step, arXiv 2305.20050",
        read=_prm800k,
        traps=(
            "a rating of 0 is a class of its own, not wrong",
            "the labels of a step stand in each response that goes through it",
        ),
    ),
    _recipe(
        "math-shepherd",
        title="Math-Shepherd: steps labelled by rollouts",
        source="peiyi9979/Math-Shepherd on the Hugging Face hub",
        columns=("input", "label"),
        objective="correctness",
        kind="class",
        rule="+ is 1, some rollout from there reached the right answer; - is 0",
        separator="\n",
        licence=_NOT_STATED,
        citation="Wang et al., Math-Shepherd, arXiv 2312.08935",
        read=_math_shepherd,
        traps=(
            "about a dozen problems carry a mark inside the question",
            "a label says what rollouts reached, not what is right",
        ),
    ),
    _recipe(
        "trl-stepwise",
        title="TRL's stepwise form",
        source="any data set in TRL's stepwise form",
        columns=("prompt", "completions", "labels"),
        objective="correctness",
        kind="class",
        rule="true is 1, false is 0, for each step",
        separator="\n",
        licence="that of the data set",
        citation="that of the data set; the form is TRL's, github.com/huggingface/trl",
        read=_trl_stepwise,
        traps=("an empty step has no text of its own: it is left out and counted",),
    ),
    _recipe(
        "processbench",
        title="ProcessBench: the first wrong step",
        source="Qwen/ProcessBench on the Hugging Face hub",
        columns=("problem", "steps", "label"),
        objective="correctness",
        kind="class",
        rule="steps before the first wrong one are 1, that one is 0, later ones are not labelled; a label of -1: all are 1",
        separator="\n\n",
        licence=_UNKNOWN,
        citation="Zheng et al., ProcessBench, arXiv 2412.06559",
        read=_processbench,
        traps=("the label is the index of the first wrong step, and -1 means that there is none",),
    ),
    _recipe(
        "mahalo-value",
        title="MAHALO: values of partial solutions",
        source="the value files of github.com/pearls-lab/multiobj-align",
        columns=("question", "response_steps", "step_value"),
        objective="accuracy",
        kind="value",
        rule="the numbers as they are: a step's score plus the discounted share of rollouts that reach the right answer",
        separator="\n\n",
        licence="Apache-2.0 (of the repository)",
        citation="MAHALO, arXiv 2510.01167",
        read=_mahalo_value,
        traps=("values reach up to 2: they are no probabilities",),
    ),
)
