"""Where two steps of a response meet: whether something stands between their words, and how to put it there.

The steps of a response, joined, are what a model reads, so "Add." and "It is 5." become "Add.It is 5.", which no model writes.
Imports: the standard library.
"""

import re
from collections.abc import Sequence

__all__ = ["bare_joints", "separated"]

_NO_BLANKS = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef]")
"""Signs of scripts that are written without blanks: Thai, Lao, Burmese, Khmer, Chinese and Japanese, with their punctuation."""


def bare_joints(steps: Sequence[str]) -> tuple[int, ...]:
    """Return the steps, by their index, that follow the one before without a blank or a line break.

    Between two signs of a script that is written without blanks none is expected.

    >>> bare_joints(["Add.", "It is 5.", " So 5."])
    (1,)
    """
    return tuple(index for index in range(1, len(steps)) if _bare(steps[index - 1], steps[index]))


def _bare(before: str, after: str) -> bool:
    if not before or not after or before[-1].isspace() or after[0].isspace():
        return False
    return not (_NO_BLANKS.match(before[-1]) or _NO_BLANKS.match(after[0]))


def separated(steps: Sequence[str], separator: str) -> tuple[str, ...]:
    r"""Return the steps with `separator` at each joint where nothing stands between them; the other joints stay as they are.

    It is put where `steps.Splitter` leaves it in a text: a separator with a line break at the end of a step, as a delimiter;
    any other in front of the next one, as the blank between two sentences.

    >>> separated(["Add.", "It is 5."], " "), separated(["Add.", "It is 5."], "\n\n")
    (('Add.', ' It is 5.'), ('Add.\n\n', 'It is 5.'))
    """
    found = list(steps)
    for index in bare_joints(steps):
        if "\n" in separator:
            found[index - 1] += separator
        else:
            found[index] = separator + found[index]
    return tuple(found)
