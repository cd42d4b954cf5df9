"""How the batches of an epoch divide into optimizer steps."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class EpochLayout:
    """An epoch of `num_batches` batches, `step_batches` of them (ranks x accumulated batches) in every step.

    Positions in an epoch count batches, so that a training can continue with another number of ranks.
    """

    num_batches: int = 1
    step_batches: int = 1

    @property
    def num_steps(self) -> int:
        """Optimizer steps in an epoch; the last one may have fewer batches."""
        return math.ceil(self.num_batches / self.step_batches)

    def count_steps(self, epoch: int, position: int) -> int:
        """Steps of this layout in `epoch` whole epochs and `position` batches of the next one."""
        return epoch * self.num_steps + position // self.step_batches
