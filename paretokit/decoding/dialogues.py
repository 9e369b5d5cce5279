"""`converse`: whole dialogues, turn by turn, of anything that answers prompts and a partner that answers back.

    prompts -> respond -> partner -> prompts, one turn longer -> ...

What responds is a function of the caller's: `generate`, or `guided_generate` with `steps="turn"` and `max_steps=1`, which
chooses each turn among candidates by what a reward model says of the dialogue (MAHALO, arXiv 2510.01167, section 4, tutoring:
one turn, best of five). All dialogues that go on are answered in one call, so they share batches; the turn is told, so weights
can move from one to the next. Imports: `errors`, `prompts`.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from paretokit.errors import ConfigError, DataError
from paretokit.prompts import Message, Prompt, Reply, as_prompt, describe

__all__ = ["Dialogue", "converse", "iter_converse"]

Respond = Callable[[Sequence[Prompt], int], Sequence[Any]]
Partner = Callable[[Prompt, str], Reply]


class Dialogue(NamedTuple):
    """A dialogue, with what was generated in it."""

    prompt: Prompt  # what it began with
    turns: tuple[Any, ...] = ()  # what `respond` returned, in order; the prompt of each is the dialogue before it
    replies: tuple[str, ...] = ()  # the partner's, one after each turn
    finished: bool = False  # the partner ended it

    @property
    def messages(self) -> tuple[Message, ...]:
        """The whole dialogue as chat messages, the partner's last reply included.

        >>> from types import SimpleNamespace
        >>> one = Dialogue([{"role": "user", "content": "Hi"}], (SimpleNamespace(text="Yes?"),), ("Bye",), True)
        >>> [message["content"] for message in one.messages]
        ['Hi', 'Yes?', 'Bye']
        """
        said = [
            message
            for turn, reply in zip(self.turns, self.replies, strict=True)
            for message in (Message(role="assistant", content=turn.text), Message(role="user", content=reply))
        ]
        return (*_chat(self.prompt, place="prompt"), *said)


def converse(respond: Respond, prompts: Sequence[Prompt], *, partner: Partner, max_turns: int = 3) -> list[Dialogue]:
    """Return a dialogue for each prompt, in their order, of at most `max_turns` turns.

    `respond(prompts, turn)` returns something with a `text` for each prompt; the turn is counted from 1. `partner(prompt,
    text)` returns the `Reply` to a turn, and whether it ends the dialogue; `world("tutoring").partner` is one. Prompts are
    chat.

    Raises `ConfigError` for `max_turns` below 1, `DataError` for a prompt that is raw text and for another number of texts
    than of prompts, and what `respond` and `partner` raise; `iter_converse` keeps what was said before.

    >>> from types import SimpleNamespace
    >>> from paretokit.preferences.worlds import world
    >>> tutor = lambda prompts, turn: [SimpleNamespace(text="What is 4 plus 3? What is 9 minus 2?") for _ in prompts]
    >>> opening = [{"role": "user", "content": "Help: 4 plus 3 is not 8. 9 minus 2 is not 5."}]
    >>> (made,) = converse(tutor, [opening], partner=world("tutoring").partner)
    >>> made.replies, made.finished
    (('Ok. 4 plus 3 is 7. 9 minus 2 is not 6.', 'Ok. 9 minus 2 is 7.'), True)
    """
    *_, made = iter_converse(respond, prompts, partner=partner, max_turns=max_turns)
    return list(made)


def iter_converse(
    respond: Respond, prompts: Sequence[Prompt], *, partner: Partner, max_turns: int = 3
) -> Iterator[tuple[Dialogue, ...]]:
    """Return what `converse` does as an iterator: all dialogues as they are after each turn. Leaving the loop ends them.

    >>> from types import SimpleNamespace
    >>> from paretokit.prompts import Reply
    >>> echo = lambda prompts, turn: [SimpleNamespace(text=f"{turn}!") for _ in prompts]
    >>> found = iter_converse(echo, [[{"role": "user", "content": "Hi"}]], partner=lambda prompt, text: Reply(text))
    >>> [made[0].replies for made in found]
    [('1!',), ('1!', '2!'), ('1!', '2!', '3!')]
    """
    if max_turns < 1:
        raise ConfigError(f"converse: max_turns is {max_turns}; expected at least 1.")
    begun = [Dialogue(_chat(prompt, place=f"converse: prompt {index}")) for index, prompt in enumerate(prompts)]
    return _run(respond, begun, partner, max_turns)


def _run(respond: Respond, made: list[Dialogue], partner: Partner, max_turns: int) -> Iterator[tuple[Dialogue, ...]]:
    for turn in range(1, max_turns + 1):
        live = [place for place, dialogue in enumerate(made) if not dialogue.finished]
        asked = [made[place].messages for place in live]
        answers = respond(asked, turn) if live else []
        if len(answers) != len(live):
            raise DataError(
                f"converse: turn {turn}: found {len(answers)} texts for {len(live)} dialogues, expected one for each. "
                "Return a list in the order of the prompts."
            )
        for place, prompt, answer in zip(live, asked, answers, strict=True):
            reply, before = partner(prompt, answer.text), made[place]
            made[place] = before._replace(
                turns=(*before.turns, answer), replies=(*before.replies, reply.text), finished=reply.last
            )
        yield tuple(made)
        if all(dialogue.finished for dialogue in made):
            return


def _chat(prompt: Prompt, *, place: str) -> tuple[Message, ...]:
    messages = as_prompt(prompt, place=place)
    if isinstance(messages, str):
        raise DataError(f"{place}: found {describe(messages)}, expected chat messages. Give [{{'role': 'user', ...}}].")
    return messages
