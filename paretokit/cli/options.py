"""What several commands share: options of a training and its data, weights and names as text, consoles, JSON output.

Imports: `errors`, `training.config`; `preferences` and rich on use.
"""

import argparse
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

from paretokit.errors import ConfigError, DataError, WeightsError
from paretokit.training.config import TrainConfig

if TYPE_CHECKING:
    from rich.console import Console

    from paretokit.models.policy import Policy
    from paretokit.preferences.records import Preferences


def names(text: str) -> list[str]:
    """Return the names of a comma-separated list.

    >>> names("harmless, concise")
    ['harmless', 'concise']
    """
    return [name.strip() for name in text.split(",") if name.strip()]


def weights(text: str) -> list[float] | dict[str, float]:
    """Return weights written as `0.5,0.5` or as `harmless=0.5,concise=0.5`; raises `WeightsError` for anything else.

    >>> weights("0.2,0.8"), weights("kind=0.3, short=0.7")
    ([0.2, 0.8], {'kind': 0.3, 'short': 0.7})
    >>> weights("0.2,much")
    Traceback (most recent call last):
    paretokit.errors.WeightsError: --weights: found '0.2,much', expected numbers such as 0.5,0.5 or name=number pairs such as
    kind=0.5,short=0.5. Correct the weights.
    """
    try:
        if "=" in text:
            pairs = [part.split("=") for part in names(text)]
            return {name.strip(): float(value) for name, value in pairs}
        return [float(part) for part in names(text)]
    except ValueError:
        raise WeightsError(
            f"--weights: found {text!r}, expected numbers such as 0.5,0.5 or name=number pairs such as kind=0.5,short=0.5. "
            "Correct the weights."
        ) from None


_ENTRY = re.compile(r",(?=[^,=/\\]+=)")  # a comma before the next name=


def source(text: str) -> str | dict[str, str]:
    """Return what `--preferences` names: a path, a world, or a mapping written as `harmless=a.jsonl,helpful=b.jsonl`.

    A file that exists under the whole text is that file, whatever its name holds. Raises `DataError` for an objective that
    stands twice.

    >>> source("pairs.jsonl"), source("harmless=a.jsonl,helpful=b.jsonl")
    ('pairs.jsonl', {'harmless': 'a.jsonl', 'helpful': 'b.jsonl'})
    """
    if "=" not in text or text.startswith(("world:", "hub:")) or _is_file(text):
        return text
    entries = [(name.strip(), path.strip()) for name, _, path in (part.partition("=") for part in _ENTRY.split(text))]
    found = dict(entries)
    if len(found) < len(entries) or not all(name and path for name, path in entries):
        raise DataError(
            f"--preferences: found {text!r}, which is no file; expected objective=path pairs, each objective once, such as "
            "harmless=a.jsonl,helpful=b.jsonl. Correct the option."
        )
    return found


def _is_file(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # a name that no file can have
        return False


def choices(text: str, *, flag: str = "--recipe-options", example: str = "safe_ties=true") -> dict[str, Any]:
    """Return options written as `safe_ties=true,gap=2`, of a recipe or what `flag` sets; `ConfigError` for anything else.

    >>> choices("safe_ties=true, part=news, gap=2")
    {'safe_ties': True, 'part': 'news', 'gap': 2}
    """
    found = {}
    for part in names(text):
        name, equals, value = part.partition("=")
        if not equals:
            raise ConfigError(f"{flag}: found {part!r}, expected name=value such as {example}. Correct it.")
        try:
            found[name.strip()] = json.loads(value)
        except ValueError:
            found[name.strip()] = value.strip()
    return found


def add_preferences(command: argparse.ArgumentParser, *, required: bool) -> None:
    """Add the options that say what pairs are read, and how."""
    command.add_argument(
        "--preferences",
        required=required,
        help="a JSONL, CSV or Parquet file of pairs, objective=path pairs such as harmless=a.jsonl,helpful=b.jsonl, a world "
        "such as world:summaries, or hub:OWNER/NAME",
    )
    command.add_argument("--objectives", type=names, help="which objectives, in this order (default: all of the data)")
    command.add_argument("--on-error", default="raise", choices=("raise", "skip"), help="what to do with unusable records")
    command.add_argument("--recipe", metavar="NAME", help="how a public data set is read, such as pku-saferlhf")
    command.add_argument(
        "--recipe-options", metavar="X=Y", help="choices of the recipe, such as safe_ties=true (default: none)"
    )
    command.add_argument("--margin", type=float, metavar="X", help="scores that differ by no more are a tie")
    command.add_argument("--ties", action="store_true", help="labels of 0 are ties, also where no label is -1")
    command.add_argument("--limit", type=int, metavar="N", help="only the first records (default: all)")
    command.add_argument(
        "--computed", type=names, metavar="NAME", help="objectives computed from the texts: conciseness (default: none)"
    )


def read(options: argparse.Namespace, *, recipe: str | None = None) -> "Preferences":
    """Return the preferences that the options ask for; `recipe` stands in where they name none."""
    from paretokit.preferences.read import read_preferences

    return read_preferences(
        source(options.preferences),
        objectives=options.objectives,
        on_error=options.on_error,
        margin=options.margin,
        recipe=options.recipe or recipe,
        recipe_options=None if options.recipe_options is None else choices(options.recipe_options),
        computed=options.computed,
        limit=options.limit,
        ties=options.ties,
    )


def add_data(command: argparse.ArgumentParser) -> None:
    """Add the options that say what is trained on what."""
    command.add_argument("--policy", default="tiny", help="tiny, smollm2, a folder, or a hub id (default: tiny)")
    command.add_argument("--adapter", default="lora", choices=("lora", "full"), help="what is trained (default: lora)")
    add_head_rank(command)
    add_chat_options(command)
    add_preferences(command, required=True)
    command.add_argument("--heldout", type=int, default=100, help="pairs kept for the figures, at most a fifth (default: 100)")
    command.add_argument("--store", default="runs", help="folder of the runs (default: runs)")


def add_head_rank(command: argparse.ArgumentParser) -> None:
    """Add the option for the heads that mah-dpo and mah-raco train."""
    command.add_argument(
        "--head-rank", type=int, default=16, help="rank of the heads of mah-dpo and mah-raco; 0: full heads (default: 16)"
    )


def add_chat_options(command: argparse.ArgumentParser) -> None:
    """Add the option for the variables of the policy's chat template."""
    command.add_argument(
        "--chat-options",
        metavar="X=Y",
        help="variables of the policy's chat template, such as reasoning_effort=low (default: none; enable_thinking is off)",
    )


def chat_options(options: argparse.Namespace) -> dict[str, Any] | None:
    """Return the variables of the chat template that the command line sets."""
    given = options.chat_options
    return None if given is None else choices(given, flag="--chat-options", example="enable_thinking=true")


def add_config(command: argparse.ArgumentParser) -> None:
    """Add one option per field of `TrainConfig`, with the field's own help; what is left out comes from the policy's preset."""
    group = command.add_argument_group("training", "left out: the preset of the policy")
    for item in fields(TrainConfig):
        flag = f"--{item.name.replace('_', '-')}"
        if item.type is bool:
            group.add_argument(flag, action=argparse.BooleanOptionalAction, help=item.metadata["help"])
            continue
        kinds = [kind for kind in get_args(item.type) or (item.type,) if kind is not type(None)]
        read = weights if get_origin(kinds[0]) is Mapping else kinds[0]
        group.add_argument(flag, type=read, metavar="X", help=item.metadata["help"])


def config(options: argparse.Namespace) -> TrainConfig:
    """Return the preset of the policy with what the command line changes."""
    from paretokit.experiments.presets import preset

    given = {item.name: getattr(options, item.name, None) for item in fields(TrainConfig)}
    return preset(options.policy).replace(**{name: value for name, value in given.items() if value is not None})


def policy(options: argparse.Namespace, objectives: Sequence[str], *, seed: int) -> "Policy":
    """Return the policy that the options ask for, with the heads that their method needs for these objectives."""
    from paretokit.models.load import load_policy
    from paretokit.training.methods import heads_for, resolve

    heads = heads_for(resolve(options.method), objectives)
    return load_policy(
        options.policy,
        adapter=options.adapter,
        heads=heads,
        head_rank=options.head_rank or None,
        seed=seed,
        chat_options=chat_options(options),
    )


def output() -> "Console":
    """Return the console for results: standard output."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=False)


def messages() -> "Console":
    """Return the console for progress and messages: standard error."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def print_json(value: Any) -> None:
    """Print one JSON value; NaN becomes null."""
    print(json.dumps(_finite(value), indent=2, ensure_ascii=False, default=str))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
