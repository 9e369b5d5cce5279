"""What a record may not say: fields, labels and names that would be read with another meaning than they have.

Each check raises `DataError` with what to do, or returns nothing. Imports: the standard library, `errors`, `prompts`, and
`cells` and `files` of this floor.
"""

import re
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from paretokit.errors import DataError
from paretokit.preferences.cells import number
from paretokit.preferences.files import Record
from paretokit.prompts import describe

__all__ = ["check_chosen", "check_labels", "check_names", "check_row", "check_verdicts"]

_MORE = "more of what was asked"
_LOST = {  # fields that public data put beside a prompt, and that an answer may depend on
    **dict.fromkeys(("image", "images"), "images"),
    **dict.fromkeys(("audio", "audios"), "sound"),
    **dict.fromkeys(("video", "videos"), "videos"),
    **dict.fromkeys(("tools", "functions"), "tools that the model may call"),
    **dict.fromkeys(("system", "system_prompt"), "a system text"),
    **dict.fromkeys(("history", "context", "documents"), _MORE),
    **dict.fromkeys(("instruction", "question", "input", "passage", "document", "article"), _MORE),
    "chat_template_kwargs": "settings of the chat template",
}
_FORMS = ("response_a", "chosen")  # the fields that decide for a form, and that stand in one record only
_NUMBERING = {"id", "ids", "idx", "index", "rank", "ranks", "ranking"}  # last words of names that count something
_THINGS = {"answer", "completion", "option", "output", "response"}  # what a verdict is about, as in worse_response
_DIFFERENCES = {"delta", "diff", "difference", "gap", "margin"}
_VERDICTS = {
    *("better", "best", "worse", "worst", "winner", "loser", "choice", "verdict", "strength"),
    *("preferred", "chosen", "rejected"),
}
_STRENGTHS = {"overall_preference", "individual_preference"}  # HelpSteer's, negative where the first response is better
_AMOUNTS_OF_BAD = {
    *("cost", "error", "errors", "harm", "harmfulness", "loss", "penalty"),
    *("perplexity", "severity", "toxicity", "violation", "violations", "worse", "worst"),
}
_AMOUNTS = {
    *("complexity", "count", "len", "length", "verbosity", "chars", "characters", "sentences", "tokens", "turns", "words"),
    *("char", "character", "sentence", "token", "turn", "word"),
}
_NUMBER_OF = {"n", "num", "number", "of"}
_FILLERS = {"avg", "is", "level", "mean", "overall", "rating", "response", "score", "value"}
_SCORES = {"score", "scores", "rating", "ratings", "reward", "rewards", "grade", "quality"}
_RANKS = {"rank", "ranking"}
_BESIDE_CHOSEN = {*_VERDICTS, "label", "preference"} - {"chosen", "rejected"}
_LETTERS = {"a", "b", "c", "tie", "0", "1", "2", "-1", "first", "second", "rejected", "response_a", "response_b"}
_NOTHING: tuple[Any, ...] = ("", b"", [], {}, "[]", "{}", "null")  # the last three: how a text column holds no tools
_MANY = 0.1  # the share of labels from which on one wrong number is no slip
_RECIPE = "Pass recipe=NAME for a public data set"


def check_row(row: Record) -> None:
    """Raise `DataError` for a record with fields that would be lost, or with the fields of two forms."""
    if all(name in row.fields for name in _FORMS):
        raise DataError(
            f"{row.place}: found the fields {' and '.join(map(repr, _FORMS))}, which say twice what the responses are; "
            "expected one of them. Take the other out."
        )
    for name, what in _LOST.items():
        value = row.fields.get(name)
        if value is None or isinstance(value, Real) or value in _NOTHING or (what == _MORE and _asked(row, value)):
            continue
        remedy = "Put it into 'prompt', as its first message" if what == "a system text" else "Write it into 'prompt' as text"
        raise DataError(
            f"{row.place}, field {name!r}: found {what}, which would be lost; expected all that is asked in 'prompt'. "
            f"{remedy}, or take the field out if the answers do not depend on it."
        )


def _asked(row: Record, value: Any) -> bool:
    """Whether a text stands in the prompt as well."""
    prompt = row.fields.get("prompt")
    turns = prompt if isinstance(prompt, (list, tuple)) else []
    texts = [prompt, *(turn.get("content") for turn in turns if isinstance(turn, Mapping))]
    return isinstance(value, str) and any(isinstance(text, str) and value.strip() in text for text in texts)


# --- labels and scores ---------------------------------------------------------------------------------------------


def check_names(names: Sequence[str], *, place: str, scores: bool, named: bool = False) -> None:
    """Raise `DataError` for a column of labels, or of scores, whose name says that it holds something else.

    A score that is an amount, such as length or verbosity, has no better end: it is an error unless the caller has `named`
    the columns, which says that more is better.

    >>> check_names(["helpful", "preference_strength"], place="pairs.csv", scores=False)
    Traceback (most recent call last):
    paretokit.errors.DataError: pairs.csv: found the label column 'preference_strength', whose name says that it is a verdict of
    another kind; expected +1 where response_a is better and -1 where response_b is. Name the label columns with
    objectives=[...]. Pass recipe=NAME for a public data set. Rename the column if it holds such labels.
    """
    for name in names:
        words = _words(name)
        content = set(words) - _FILLERS
        counts = bool(words) and (words[-1] in _NUMBERING or words[0] == "unnamed")  # pandas calls an index so
        if scores and (counts or (content and content <= _AMOUNTS_OF_BAD)):
            raise DataError(
                f"{place}: found the score column {name!r}, whose name says that "
                f"{'it counts' if counts else 'less of it is better'}; expected scores of which the larger is better. Name "
                "the score columns with objectives=[...], or turn the sign and call the column by what is good."
            )
        if scores and not named and content & _AMOUNTS and content <= _AMOUNTS | _NUMBER_OF:
            raise DataError(
                f"{place}: found the score column {name!r}, whose name says that it is an amount, neither good nor bad; "
                "expected scores of which the larger is better. Name the score columns with objectives=[...], this one only "
                "if more of it is better; else turn the sign and call the column by what is good."
            )
        verdict = words[-2] if len(words) > 1 and words[-1] in _THINGS else words[-1] if words else ""
        if not scores and words and (counts or verdict in _VERDICTS or name.lower() in _STRENGTHS):
            raise DataError(
                f"{place}: found the label column {name!r}, whose name says that it "
                f"{'counts' if counts else 'is a verdict of another kind'}; expected +1 where response_a is better and -1 "
                f"where response_b is. Name the label columns with objectives=[...]. {_RECIPE}. Rename the column if it "
                "holds such labels."
            )


def _words(name: Any) -> list[str]:
    """Return the words of a name such as `better_response_id` or `betterResponseId`, in lower case."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name) if isinstance(name, str) else ""
    return re.findall(r"[^\W_]+", parted.lower())


def check_labels(labels: Mapping[str, Sequence[tuple[str, Any]]], *, ties: bool) -> None:
    """Raise `DataError` for an objective whose labels together mean something else than their signs.

    `labels` holds by objective, for all records, the place and the value. Numbers 0 and 1 without any -1 mostly are the number
    of the better response: they are an error, unless `ties` says that 0 is a tie. Different numbers outside of -1, 0 and 1, or
    one such number again and again, are strengths, ratings or numbers of responses; a single one is a fault of its record.

    >>> check_labels({"kind": [("row 0", 1), ("row 1", 0)]}, ties=False)
    Traceback (most recent call last):
    paretokit.errors.DataError: row 1, objective 'kind': found label 0, and no -1 in any record: 0 is a tie here, and numbers
    that are 0 or 1 mostly say which response is better, or yes and no. Write +1 where response_a is better and -1 where
    response_b is. Pass recipe=NAME for a public data set. If 0 is a tie, pass ties=True.
    """
    for name, found in labels.items():
        numbers: list[tuple[str, Any]] = [
            (place, value) for place, value in found if isinstance(value, Real) and not isinstance(value, bool)
        ]
        strange = [(place, value) for place, value in numbers if value not in (-1, 0, 1)]
        if len({value for _, value in strange}) > 1 or (len(strange) > 1 and len(strange) >= _MANY * len(numbers)):
            place, value = strange[0]
            raise DataError(
                f"{place}, objective {name!r}: found label {describe(value)}, and {len(strange)} of {len(numbers)} labels "
                f"are neither +1, 0 nor -1: strengths, ratings and numbers of responses are no labels. {_RECIPE}. Else "
                "write their signs, +1 where response_a is better (in some data a negative strength says so), or one row "
                "for each response with its scores."
            )
        zero = next((place for place, value in numbers if value == 0), None)
        if zero and not ties and all(value in (0, 1) for _, value in numbers):
            raise DataError(
                f"{zero}, objective {name!r}: found label 0, and no -1 in any record: 0 is a tie here, and numbers that "
                "are 0 or 1 mostly say which response is better, or yes and no. Write +1 where response_a is better and "
                f"-1 where response_b is. {_RECIPE}. If 0 is a tie, pass ties=True."
            )


# --- chosen and rejected -------------------------------------------------------------------------------------------


def check_chosen(row: Record) -> None:
    """Raise `DataError` for a row whose scores, ranks or margin say that the rejected response is better."""
    for name, value in row.fields.items():
        words = _words(name)
        ranks = bool(_RANKS & set(words))  # 1 is the best
        if "chosen" not in words or not (ranks or _SCORES & set(words)):
            continue
        other = name.replace("chosen", "rejected")
        first, second = number(value), number(row.fields.get(other))
        if isinstance(first, Real) and isinstance(second, Real) and (first > second if ranks else first < second):
            raise DataError(
                f"{row.place}, field {name!r}: found {describe(first)}, and {describe(second)} in {other!r}, so 'chosen' "
                f"does not mean better. {_RECIPE}. Else exchange the two responses, or take both fields out."
            )
    for name, value in row.fields.items():
        margin = number(value)
        *about, last = _words(name) or [""]
        compares = last in _DIFFERENCES and set(about) <= _SCORES  # not length_difference
        if compares and isinstance(margin, Real) and margin < 0:
            raise DataError(
                f"{row.place}, field {name!r}: found {describe(margin)}, so 'chosen' does not mean better. Exchange the two "
                "responses, or take the field out."
            )


def check_verdicts(records: Sequence[Record], *, fields: Sequence[str]) -> None:
    """Raise `DataError` for a column beside chosen and rejected that says for itself which response is better.

    Such are `labels`, RACO's `raco_s_...`, numbers that are -1, 0 or 1 with a -1 among them, and verdicts (`preference`,
    `label`, `winner` and the like) as a number, true or false, or a letter. `fields` are those of the form.
    """
    columns: dict[str, list[tuple[str, Any]]] = {}
    for row in records:
        for name, value in row.fields.items():
            if name not in fields and value is not None:
                columns.setdefault(name, []).append((row.place, value))
    for name, found in columns.items():
        words = _words(name)
        place, value = found[0]
        signed = [number(item) for _, item in found]
        verdict = bool(words) and words[-1] in _BESIDE_CHOSEN and all(_is_verdict(item) for _, item in found)
        signs = all(isinstance(item, Real) and item in (-1, 0, 1) for item in signed) and -1 in signed
        if name == "labels" or words[:2] == ["raco", "s"] or verdict or signs:
            recipe = "Pass recipe='raco-tldr'" if words[:1] == ["raco"] else _RECIPE
            raise DataError(
                f"{place}, field {name!r}: found {describe(value)} beside 'chosen' and 'rejected': the field says for "
                f"itself which response is better, and 'chosen' may not mean better. {recipe}. Else rename the two to "
                "response_a and response_b if the field holds their labels, or take it out."
            )


def _is_verdict(value: Any) -> bool:
    return isinstance(value, Real) or (isinstance(value, str) and value.strip().lower() in _LETTERS)
