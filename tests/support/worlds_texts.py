"""Texts that try to score more than a world's front allows: random ones, and spiteful edits of the best answers."""

import random
import re
from collections.abc import Callable, Iterator, Sequence

from paretokit.preferences.worlds.rules import Rules

FUNCTION_WORDS = frozenset(("the", "to", "on", "a", "it", "that", "i", "with"))
JOINTS = ("", "-", "_", "\u2013", "'", ",", "\u200b", "\u00a0", "/", "...", "\n")
FILLERS = ("Yes.", "Maybe.", ".", "!", "?", "—.", "€", "It seems that.", "Sorry.", "0.", "\u0301", "x")


def random_texts(rules: Rules, contents: Sequence[str], *, count: int, seed: int) -> Iterator[tuple[str, str]]:
    """Yield `count` pairs of content and text: words of the world in random order, or characters of all Unicode."""
    draw = random.Random(seed)
    words = sorted({word for content in contents for text in (content, *rules.choices(content)) for word in text.split()})
    for place in range(count):
        content = contents[place % len(contents)]
        if place % 3:
            yield content, " ".join(draw.choices(words, k=draw.randrange(30)))
        else:
            points = (
                draw.choice((draw.randrange(0x20, 0x7F), draw.randrange(0xD800), draw.randrange(0xE000, 0x11_0000)))
                for _ in range(40)
            )
            yield content, "".join(map(chr, points))


def edited_texts(rules: Rules, contents: Sequence[str], *, count: int, seed: int) -> Iterator[tuple[str, str]]:
    """Yield `count` pairs of content and a non-dominated answer to it after one to four spiteful edits.

    One answer in five is two joined, so that things are said twice in different ways.
    """
    draw = random.Random(seed)
    best = {content: non_dominated_texts(rules, content) for content in contents}
    for place in range(count):
        content = contents[place % len(contents)]
        text = " ".join(draw.choices(best[content], k=draw.choice((1, 1, 1, 1, 2))))
        for _ in range(draw.randint(1, 4)):
            text = draw.choice(EDITS)(text, content, draw)
        yield content, text


def non_dominated_texts(rules: Rules, content: str) -> list[str]:
    """The choices that no other choice dominates, found by comparing all with all."""
    scored = {text: rules.scores(content, text) for text in rules.choices(content)}
    different = set(scored.values())
    best = {score for score in different if not any(dominates(other, score) for other in different)}
    return [text for text, score in scored.items() if score in best]


def dominates(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether a is at least b everywhere and more somewhere."""
    return all(x >= y for x, y in zip(a, b, strict=True)) and any(x > y for x, y in zip(a, b, strict=True))


def _on_words(change: Callable[[list[str], random.Random], None]) -> Callable[[str, str, random.Random], str]:
    def edit(text: str, content: str, draw: random.Random) -> str:
        words = text.split()
        if words:
            change(words, draw)
        return " ".join(words)

    return edit


def _on_sentences(change: Callable[[list[str], random.Random], None]) -> Callable[[str, str, random.Random], str]:
    def edit(text: str, content: str, draw: random.Random) -> str:
        said = re.findall(r"[^.?]+[.?]", text)
        if said:
            change(said, draw)
        return " ".join(sentence.strip() for sentence in said)

    return edit


def _delete(items: list[str], draw: random.Random) -> None:
    items.pop(draw.randrange(len(items)))


def _swap(items: list[str], draw: random.Random) -> None:
    i, j = draw.randrange(len(items)), draw.randrange(len(items))
    items[i], items[j] = items[j], items[i]


def _repeat(items: list[str], draw: random.Random) -> None:
    items.insert(draw.randint(0, len(items)), draw.choice(items))


def _glue(words: list[str], draw: random.Random) -> None:
    where = draw.randrange(len(words))
    words[where : where + 2] = [draw.choice(JOINTS).join(words[where : where + 2])]


def _telegraphic(text: str, content: str, draw: random.Random) -> str:
    return " ".join(word for word in text.split() if word.lower() not in FUNCTION_WORDS)


def _glue_all(text: str, content: str, draw: random.Random) -> str:
    return draw.choice(JOINTS).join(text.split())


def _unpunctuated(text: str, content: str, draw: random.Random) -> str:
    return re.sub(r"[.?]", draw.choice(("", ",", ";", " and", "\n", "…")), text)


def _one_stop_less(text: str, content: str, draw: random.Random) -> str:
    stops = [match.start() for match in re.finditer(r"[.?]", text)]
    where = draw.choice(stops) if stops else 0
    return text[:where] + text[where + 1 :]


def _stop_anywhere(text: str, content: str, draw: random.Random) -> str:
    where = draw.randint(0, len(text))
    return f"{text[:where]}{draw.choice('.!?')}{text[where:]}"


def _without_hedges(text: str, content: str, draw: random.Random) -> str:
    return re.sub(
        r"(it seems that|they say that|i hear that|maybe) ?",
        draw.choice(("", "maybe ", "maybe. ", "perhaps, ", "it seems ", "that ")),
        text,
        flags=re.I,
    )


def _with_filler(text: str, content: str, draw: random.Random) -> str:
    return draw.choice((f"{text} {draw.choice(FILLERS)}", f"{draw.choice(FILLERS)} {text}"))


def _with_the_prompt(text: str, content: str, draw: random.Random) -> str:
    return draw.choice((f"{text} {content}", content, content.partition(": ")[2]))


def _letters(text: str, content: str, draw: random.Random) -> str:
    where = draw.randint(0, len(text))
    return draw.choice(
        (
            text.upper(),
            text.lower(),
            text.swapcase(),
            text[:where] + text[where + 1 :],
            text[:where] + "\u0307" + text[where:],
        )
    )


EDITS: tuple[Callable[[str, str, random.Random], str], ...] = (
    *(wrap(change) for wrap in (_on_words, _on_sentences) for change in (_delete, _swap, _repeat)),
    _on_words(_glue),
    _telegraphic,
    _glue_all,
    _unpunctuated,
    _one_stop_less,
    _stop_anywhere,
    _without_hedges,
    _with_filler,
    _with_the_prompt,
    _letters,
)
