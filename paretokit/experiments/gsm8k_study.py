"""The label factory, a reward model and guided decoding on GSM8K, end to end; the result is reported whatever it is.

    python -m paretokit.experiments.gsm8k_study gsm8k.jsonl --problems 100 --folder OUT

Half of the problems train, half only evaluate; how is told in `problem_study`. Methods: "plain", one sample of the policy;
"guided + <objective>" and "guided + all", line by line, by one output of the reward model or by all at equal weights;
"best + ...", of as many whole samples, by the same model; "majority" and "any (oracle)" of these samples. Figures: shares of
answers that are right (accuracy), of at most 40 words (concise), with a final answer (stated) and cut off at a limit (capped);
tokens of an answer, and those drawn for it.

A study that was interrupted goes on where it was when the same command is given again: rollouts, reward model and answers are
kept in the folder. It then holds questions of the data set: keep it out of repositories. Imports: torch, `problem_study`,
`problems`, `answer_figures`, `studies`, `spec`, `files`.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from paretokit.errors import ParetokitError
from paretokit.experiments.answer_figures import figures
from paretokit.experiments.files import write_json, write_text
from paretokit.experiments.problem_study import PLAN, study
from paretokit.experiments.problems import read_problems, verifier_of
from paretokit.experiments.spec import versions
from paretokit.experiments.studies import print_table

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study from the shell, print its table, and keep answers, samples and the report in the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", help="JSON lines with question and answer")
    parser.add_argument("--problems", type=int, default=100, help="the first ones of the file")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--folder", type=Path, required=True, help="where everything is kept")
    parser.add_argument("--policy", default=PLAN.policy)
    parser.add_argument("--dtype", default=PLAN.dtype, help="of policy and reward model: auto, float32 or bfloat16")
    parser.add_argument("--evaluated", type=float, default=PLAN.evaluated, help="share of the problems that only evaluate")
    parser.add_argument("--tokens", type=int, default=PLAN.decoding.max_new_tokens, help="of an answer, at most")
    parser.add_argument("--reward-steps", type=int, default=PLAN.reward.steps)
    parser.add_argument("--heldout", type=float, default=PLAN.reward.heldout, help="share of training problems; 0 for a trial")
    parser.add_argument("--threads", type=int, help="torch threads")
    options = parser.parse_args(arguments)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    try:
        plan = PLAN._replace(
            policy=options.policy,
            dtype=options.dtype,
            evaluated=options.evaluated,
            decoding=PLAN.decoding._replace(max_new_tokens=options.tokens),
            reward=PLAN.reward.replace(steps=options.reward_steps, heldout=options.heldout, threads=options.threads),
        )
        problems = read_problems(options.path, count=options.problems)
        made = study(
            problems,
            verifier=verifier_of(problems),
            folder=options.folder,
            seeds=range(options.seeds),
            plan=plan,
            watch=lambda text: print(text, flush=True),
        )
    except ParetokitError as error:
        raise SystemExit(f"gsm8k_study: {error}") from None
    table = figures(
        made.answers,
        baseline="plain",
        shares=("accuracy", "concise", "stated", "capped"),
        compared=("accuracy", "concise"),
        means=("tokens", "drawn"),
    )
    for name in ("answers", "samples"):
        write_text(options.folder / f"{name}.csv", getattr(made, name).to_csv(index=False))
    report = {
        "plan": plan.to_json(),
        "threads": torch.get_num_threads(),
        "versions": versions(),
        **made.facts,
        "figures": json.loads(str(table.to_json(orient="records"))),
        "kept": [str(options.folder / f"{name}.csv") for name in ("answers", "samples")],
    }
    write_json(options.folder / "report.json", report)
    print(json.dumps(plan.to_json()))
    print(f"{made.facts['policy']}: {len(made.facts['evaluation'])} problems evaluate; report in {options.folder}")
    print(", ".join(f"{stage} {seconds:.0f} s" for stage, seconds in made.facts["seconds"].items()))
    print_table(table)


if __name__ == "__main__":
    main()
