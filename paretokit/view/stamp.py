"""The stamp under figures and pages: what is needed to get the same result again.

Imports: `experiments.store`; asks git, where paretokit runs from a checkout.
"""

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paretokit.experiments.store import Run


def stamp(runs: Sequence[Run]) -> dict[str, Any]:
    """Return what is needed to get the same figures again: versions, data, policy, configuration, seeds, time."""
    spec = runs[0].spec
    seconds = sum(run.records[-1].wall_time or 0.0 for run in runs if run.records)
    return {
        **spec.versions,
        **commit(),
        "policy": f"{spec.policy} ({spec.adapter})",
        "preferences": f"{spec.preferences} (sha256 {spec.preferences_hash[:16]})",
        "evaluation": spec.evaluation,
        "config": spec.config.to_json(),
        "seeds": sorted({run.spec.seed for run in runs}),
        "runs": [run.id for run in runs],
        "device": spec.device,
        "training seconds": round(seconds, 1),
    }


def stamp_text(stamp: Mapping[str, Any]) -> str:
    """Return a stamp as lines of text."""
    return "\n".join(
        f"{key}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)}"
        for key, value in stamp.items()
    )


def commit() -> dict[str, str]:
    """Return {"commit": ...} of the checkout that paretokit runs from, with "-dirty" where it was changed; {} elsewhere."""
    package = Path(__file__).resolve().parent.parent
    if not (package.parent / ".git").exists():
        return {}
    asked = ["git", "-C", str(package), "describe", "--always", "--dirty", "--abbrev=10"]
    try:
        found = subprocess.run(asked, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return {"commit": found.stdout.strip()} if found.returncode == 0 else {}
