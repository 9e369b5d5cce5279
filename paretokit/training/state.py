"""Where a run stands beside the policy's weights. Imports: torch."""

from typing import NamedTuple

from paretokit.shapes import Tensor


class TrainState(NamedTuple):
    """Enough, with the trainable weights of the same moment, to go on as if training had never stopped."""

    step: int  # steps done
    optimizer: dict[str, Tensor]  # "<parameter>.<moment>" -> the optimizer's own tensor: copy to keep
