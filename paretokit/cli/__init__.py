"""The shell: `paretokit COMMAND`. Each command is a module with `add` (its options) and `run` (its work).

Results go to standard output, as text or, with --json, as one JSON object; progress and messages go to standard error.
Every expected error is one line and exit status 1; --debug shows where it came from. Imports: commands, on use.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version

from paretokit.errors import ParetokitError

COMMANDS = ("demo", "lab", "train", "decode", "sweep", "runs", "report", "export", "bench", "doctor")


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = argparse.ArgumentParser(
        prog="paretokit",
        description="Align language models to several, conflicting objectives, and look at the Pareto front.",
        epilog="Start with `paretokit demo`. Each command has --help with an example.",
    )
    top.add_argument("--version", action="version", version=f"paretokit {version('paretokit')}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        module = import_module(f"paretokit.cli.{name}")
        doc = module.__doc__ or ""
        summary, _, rest = doc.partition("\n\n")
        command = commands.add_parser(
            name,
            help=summary[0].lower() + summary[1:].rstrip("."),
            description=summary,
            epilog=rest,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add(command)
        command.add_argument("--json", action="store_true", help="print the result as one JSON object")
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
        command.set_defaults(run=module.run)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status: 0 done, 1 an expected error, 2 unusable arguments, 130 interrupted."""
    options = parser().parse_args(arguments)
    try:
        options.run(options)
    except ParetokitError as error:
        if options.debug:
            raise
        print(f"paretokit {options.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if options.debug:
            raise
        print(
            f"paretokit {options.command}: interrupted; finished steps are kept, run it again to go on.",
            file=sys.stderr,
        )
        return 130
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has gone
        sys.stderr.close()
        return 141
    return 0
