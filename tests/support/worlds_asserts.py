"""What every world promises, as assertions; the tests hold them against planted worlds that break each."""

import operator
from collections.abc import Iterable

from support.worlds_texts import non_dominated_texts

from paretokit.preferences.worlds.build import ask, true_front
from paretokit.preferences.worlds.rules import Rules


def assert_none_beats_the_front(rules: Rules, texts: Iterable[tuple[str, str]]) -> int:
    """Each text scores in [0, 1] and a point of its content's front reaches that; returns how many were tried."""
    fronts: dict[str, list[list[float]]] = {}
    tried = 0
    for content, text in texts:
        if content not in fronts:
            fronts[content] = true_front(rules, ask(content)).tolist()
        score = rules.scores(content, text)
        assert all(0 <= value <= 1 for value in score), f"{text!r} scores {score}, outside [0, 1]"
        reached = any(all(map(operator.ge, point, score)) for point in fronts[content])
        assert reached, f"{text!r} scores {score} for {content!r}; no point of {fronts[content]} reaches that"
        tried += 1
    return tried


def assert_front_is_attained(rules: Rules, content: str) -> None:
    """The front is what brute force finds among the choices, and each of its points is the score of a written text."""
    front = true_front(rules, ask(content))
    attained = {rules.scores(content, text) for text in non_dominated_texts(rules, content)}
    found = set(map(tuple, front.tolist()))
    assert found == attained, f"front {sorted(found)} differs from brute force {sorted(attained)} for {content!r}"
    assert len(front) == len(found), f"front of {content!r} holds a point twice"
    assert "" in rules.choices(content), f"the empty text is no choice for {content!r}"
