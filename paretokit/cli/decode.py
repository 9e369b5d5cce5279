"""Generate text with a policy or with the policy of a run.

A prompt is sent as a chat message where the policy has a chat template, unless --raw. Example:

    paretokit decode --run raco-s0 --prompt "How do I bake bread?" --copies 2
"""

import argparse
import sys

from paretokit.cli import options as shared
from paretokit.errors import ConfigError


def add(command: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument("--run", dest="run_id", help="a run of the store, by its name or the beginning of it")
    which.add_argument("--policy", help="tiny, smollm2, a folder, or a hub id")
    command.add_argument("--store", default="runs", help="folder of the runs (default: runs)")
    command.add_argument("--prompt", action="append", help="a prompt; give it several times (default: one per line of stdin)")
    command.add_argument("--raw", action="store_true", help="continue the prompt as text instead of answering it")
    command.add_argument("--compare", action="store_true", help="show the untrained policy's text, drawn alike, before it")
    command.add_argument("--copies", type=int, default=1, help="samples per prompt (default: 1)")
    command.add_argument("--max-new-tokens", type=int, default=64, help="cap on each sample (default: 64)")
    command.add_argument("--temperature", type=float, default=1.0, help="0: always the likeliest token (default: 1)")
    command.add_argument("--top-k", type=int, default=0, help="only the K likeliest tokens (default: all)")
    command.add_argument("--top-p", type=float, default=1.0, help="only the likeliest tokens of this mass (default: 1)")
    command.add_argument("--stop-string", action="append", default=[], help="a text that ends a sample; give it several times")
    command.add_argument("--weights", help="for a policy with heads: 0.5,0.5 or kind=0.5,short=0.5 (default: those of the run)")
    command.add_argument("--seed", type=int, default=0, help="seed of the samples (default: 0)")


def run(options: argparse.Namespace) -> None:
    """Decode and print."""
    texts = options.prompt or [line.rstrip("\n") for line in sys.stdin if line.strip()]
    if not texts:
        raise ConfigError("--prompt: found none, expected at least one. Give --prompt TEXT or write prompts to standard input.")
    with shared.messages().status("decoding"):
        from paretokit.decoding.sample import generate
        from paretokit.experiments.store import Store
        from paretokit.models.load import load_policy

        if options.run_id is None:
            policies, weights = {"": load_policy(options.policy, adapter="none")}, None
        else:
            stored = Store(options.store).run(options.run_id)
            policies, weights = {"after": stored.load()}, stored.spec.weights
            if weights is not None:
                weights = dict(zip(stored.spec.objectives, weights, strict=True))
            if options.compare:
                before = load_policy(stored.spec.policy, adapter="none")
                before.chat = policies["after"].chat  # the same prompts for both
                policies = {"before": before, **policies}
        if options.weights:
            weights = shared.weights(options.weights)
        prompts = [text if options.raw else [{"role": "user", "content": text}] for text in texts]
        made = {
            label: generate(
                policy,
                prompts,
                weights=weights if policy.heads or options.weights else None,
                max_new_tokens=options.max_new_tokens,
                temperature=options.temperature,
                top_k=options.top_k,
                top_p=options.top_p,
                seed=options.seed,
                stop_strings=options.stop_string,
                copies=options.copies,
            )
            for label, policy in policies.items()
        }
    from paretokit.cli.output import print_generations

    print_generations(made, as_json=options.json)
