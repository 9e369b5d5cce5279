"""Guided decoding as slow as it can be: one candidate at a time, every text read from its first token, no cache."""

import torch

from paretokit.decoding.draw import draw, uniforms
from paretokit.preferences.steps import Splitter
from paretokit.texts import decode, encode_prompt


class Often(Splitter):
    """A step ends with every fourth character or so, wherever that falls among the tokens."""

    def end(self, text):
        return next((place + 1 for place, character in enumerate(text) if ord(character) % 4 == 0), None)


def often():
    return Often("turn")


def candidate(model, tokenizer, prefix, response, *, number, room, ends, boundary, seed, temperature=1.0):
    """One candidate's step: its tokens, its text, whether it ended, whether the room was used up."""
    before = decode(tokenizer, response)
    uniform = uniforms((*prefix, *response), copy=number, seed=seed, count=room)
    new = []
    while True:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([[*prefix, *response, *new]])).logits[:, -1]
        new.append(draw(logits, uniform[len(new) : len(new) + 1], temperature=temperature).tokens.item())
        text = decode(tokenizer, (*response, *new))[len(before) :]
        ended = new[-1] in ends
        if ended or boundary(text) is not None or len(new) == room:
            return tuple(new), text, ended


def guided(
    policy,
    prompt,
    *,
    score,
    utility,
    candidates,
    ends,
    boundary,
    max_steps,
    max_step_tokens,
    max_new_tokens,
    seed=0,
    head_weights=lambda step: None,
):
    """The response to one prompt, by one line: its steps' tokens, and the scores of all candidates of each step.

    `score`: (response so far as ids and text) -> scores; `utility`: scores [K, m] -> [K]; `head_weights`: step -> weights.
    """
    tokenizer = policy.tokenizer
    prefix = encode_prompt(tokenizer, prompt)
    response, steps, scored = (), [], []
    while len(steps) < max_steps and len(response) < max_new_tokens:
        room = min(max_step_tokens, max_new_tokens - len(response))
        model = policy.merged(head_weights(len(steps) + 1))
        found = [
            candidate(model, tokenizer, prefix, response, number=k, room=room, ends=ends, boundary=boundary, seed=seed)
            for k in range(candidates)
        ]
        scores = torch.tensor([score(decode(tokenizer, (*response, *ids))) for ids, _, _ in found], dtype=torch.float64)
        chosen = utility(scores).argmax().item()
        ids, _, ended = found[chosen]
        response = (*response, *ids)
        steps.append(ids)
        scored.append(scores)
        if ended:
            break
    return response, steps, scored
