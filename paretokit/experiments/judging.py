"""Asking verifiers and judges: each text once, answers checked, those of costly judges kept on disk as they come.

Imports: `content_cache`, `rollouts` (for `Stopped`), `errors`.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import Any

from paretokit.errors import DataError
from paretokit.experiments.content_cache import ContentCache, content_key
from paretokit.experiments.rollouts import Stopped
from paretokit.prompts import Prompt, describe

__all__ = ["Judge", "JudgeBook"]

Judge = Callable[[Any, str], float]
"""`judge(prompt, text)` returns a probability in [0, 1] that the text is good; a verifier returns a bool or a number in [0, 1].

An attribute `cache_key`, a text that changes with everything the answers depend on, lets them be kept on disk; an attribute
`threads` says how many questions may be asked at a time."""

Question = tuple[Prompt, str]


class JudgeBook:
    """The answers of one verifier or judge; `asked` and `reused` count them."""

    def __init__(self, judge: Judge, cache: ContentCache, *, place: str) -> None:
        self._judge = judge
        self._cache = cache
        self._place = place
        self.asked = 0
        self.reused = 0

    def answers(self, questions: Sequence[Question], *, stop: Callable[[], bool]) -> list[float]:
        """Return the answer to each question; the same text to the same prompt is judged once.

        An answer is on disk before the next question, where the judge's answers are kept. An error of the judge is raised once
        what is under way has been kept; `Stopped` likewise, once `stop` is true. Raises `DataError` for an answer that is no
        number in [0, 1].
        """
        keys = [_key(question) for question in questions]
        missing = {key: question for key, question in zip(keys, questions, strict=True) if key not in self._cache}
        self.reused += len(set(keys)) - len(missing)
        for key, value in self._ask(missing, stop=stop):
            self._cache.add({key: value})
            self.asked += 1
        return [self._cache[key] for key in keys]

    def _ask(self, missing: dict[str, Question], *, stop: Callable[[], bool]) -> Iterator[tuple[str, float]]:
        threads = getattr(self._judge, "threads", 1)
        if threads == 1 or len(missing) < 2:
            for key, question in missing.items():
                if stop():
                    raise Stopped
                yield key, self._answer(question)
            return
        failure: BaseException | None = None
        with ThreadPoolExecutor(max_workers=threads) as pool:
            futures = {pool.submit(self._answer, question): key for key, question in missing.items()}
            try:
                for future in as_completed(futures):
                    if future.cancelled():
                        continue
                    error = future.exception()
                    if error is None:
                        yield futures[future], future.result()
                    failure = failure or error or (Stopped() if stop() else None)
                    if failure is not None:
                        _cancel(futures)
            finally:
                _cancel(futures)
        if failure is not None:
            raise failure

    def _answer(self, question: Question) -> float:
        prompt, text = question
        found = self._judge(prompt, text)
        number = isinstance(found, (bool, int, float)) or hasattr(found, "__float__")
        value = float(found) if number else math.nan
        if not 0 <= value <= 1:
            raise DataError(
                f"{self._place}: found the answer {describe(found)} to the text {describe(text)}, expected a bool or a "
                "number in [0, 1]. Correct the function."
            )
        return value


def _cancel(futures: Iterable[Future[float]]) -> None:
    """Let what has not begun be; what is under way ends."""
    for future in futures:
        future.cancel()


def _key(question: Question) -> str:
    prompt, text = question
    return content_key(prompt if isinstance(prompt, str) else [dict(turn) for turn in prompt], text)
