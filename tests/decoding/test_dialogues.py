"""converse: turns in order, who goes on, guidance turn by turn, and what it refuses."""

from types import SimpleNamespace

import pytest

from paretokit.decoding.dialogues import converse, iter_converse
from paretokit.decoding.guided import guided_generate
from paretokit.decoding.sample import generate
from paretokit.errors import ConfigError, DataError
from paretokit.models.load import load_policy
from paretokit.preferences.worlds import world
from paretokit.preferences.worlds.build import ask
from paretokit.prompts import Reply

HI, HO = ask("Hi"), ask("Ho")
TASK = world("tutoring")
OPENINGS = [prompt for prompt in TASK.prompts if len(prompt) == 1][:6]
LIMITS = {"steps": "turn", "max_steps": 1, "max_step_tokens": 32, "max_new_tokens": 32}


def told(prompts, turn):
    """What is answered says the turn and how long the dialogue is."""
    return [SimpleNamespace(text=f"{turn}:{len(prompt)}") for prompt in prompts]


def test_turns_are_taken_in_order_and_replies_are_kept():
    (made,) = converse(told, [HI], partner=lambda prompt, text: Reply(f"re {text}"), max_turns=2)
    assert [turn.text for turn in made.turns] == ["1:1", "2:3"]
    assert made.replies == ("re 1:1", "re 2:3")
    assert [(message["role"], message["content"]) for message in made.messages] == [
        ("user", "Hi"),
        ("assistant", "1:1"),
        ("user", "re 1:1"),
        ("assistant", "2:3"),
        ("user", "re 2:3"),
    ]
    assert not made.finished


def test_a_dialogue_that_its_partner_ended_is_not_answered_again():
    asked = []

    def respond(prompts, turn):
        asked.append([prompt[0]["content"] for prompt in prompts])
        return told(prompts, turn)

    made = converse(respond, [HI, HO, HI], partner=lambda prompt, text: Reply("", last=prompt[0]["content"] == "Ho"))
    assert asked == [["Hi", "Ho", "Hi"], ["Hi", "Hi"], ["Hi", "Hi"]]
    assert [len(dialogue.turns) for dialogue in made] == [3, 1, 3]
    assert [dialogue.finished for dialogue in made] == [False, True, False]


def test_all_that_ended_early_ask_nobody():
    found = list(iter_converse(told, [HI], partner=lambda prompt, text: Reply("", last=True)))
    assert len(found) == 1
    assert list(iter_converse(told, [], partner=lambda prompt, text: Reply(""), max_turns=3)) == [()]
    assert converse(told, [], partner=lambda prompt, text: Reply("")) == []


def test_what_was_said_before_an_error_is_kept():
    """`iter_converse` has given it out already, and nothing of it changes."""

    def respond(prompts, turn):
        if turn == 2:
            raise RuntimeError("planted")
        return told(prompts, turn)

    found = iter_converse(respond, [HI], partner=lambda prompt, text: Reply("Go on"))
    kept = next(found)
    with pytest.raises(RuntimeError, match="planted"):
        next(found)
    assert kept[0].replies == ("Go on",)


def test_one_turn_is_what_the_function_gives_alone():
    policy = load_policy("tiny", adapter="none")
    alone = generate(policy, OPENINGS, max_new_tokens=32, seed=5)
    made = converse(
        lambda prompts, turn: generate(policy, prompts, max_new_tokens=32, seed=5), OPENINGS, partner=TASK.partner, max_turns=1
    )
    assert [dialogue.turns[0].text for dialogue in made] == [one.text for one in alone]
    assert [dialogue.replies[0] for dialogue in made] == [TASK.partner(one.prompt, one.text).text for one in alone]


def test_guidance_turn_by_turn_with_weights_that_move():
    """The exact scorers as guide: each turn is the best of its candidates at the weights of that turn."""
    policy = load_policy("tiny", adapter="none")
    weights = {1: {"accuracy": 0.0, "engagement": 1.0}, 2: {"accuracy": 1.0, "engagement": 0.0}}

    def respond(prompts, turn):
        return guided_generate(policy, prompts, reward_model=TASK.scorers, weights=weights[turn], candidates=8, **LIMITS)

    made = converse(respond, OPENINGS, partner=TASK.partner, max_turns=2)
    checked = 0
    for dialogue in made:
        for turn, place in zip(dialogue.turns, (1, 0), strict=False):
            assert turn.scores[place] == max(candidate.scores[place] for candidate in turn.tree)
            assert turn.scores[place] == TASK.scorers[turn.objectives[place]](turn.prompt, turn.text)
            checked += 1
    assert checked > len(OPENINGS)


def test_a_dialogue_does_not_depend_on_its_company():
    policy = load_policy("tiny", adapter="none")

    def respond(prompts, turn):
        return guided_generate(policy, prompts, reward_model=TASK.scorers, weights=[0.5, 0.5], candidates=3, **LIMITS)

    together = converse(respond, OPENINGS, partner=TASK.partner, max_turns=2)
    (alone,) = converse(respond, OPENINGS[2:3], partner=TASK.partner, max_turns=2)
    assert alone.messages == together[2].messages


def test_wrong_arguments():
    silent = lambda prompt, text: Reply("")  # noqa: E731 # a partner in a word
    with pytest.raises(ConfigError) as error:
        iter_converse(told, [HI], partner=silent, max_turns=0)
    assert str(error.value) == "converse: max_turns is 0; expected at least 1."
    with pytest.raises(DataError) as error:
        iter_converse(told, [HI, "raw"], partner=silent)
    assert str(error.value) == "converse: prompt 1: found 'raw', expected chat messages. Give [{'role': 'user', ...}]."
    with pytest.raises(DataError) as error:
        converse(lambda prompts, turn: told(prompts, turn)[1:], [HI, HO], partner=silent)
    assert str(error.value) == (
        "converse: turn 1: found 1 texts for 2 dialogues, expected one for each. Return a list in the order of the prompts."
    )
