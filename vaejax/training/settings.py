"""`Settings`: the length of training, and the steps at which it logs and saves."""

import dataclasses
from collections.abc import Iterator

from vaejax.core.fields import check_fields, field
from vaejax.core.ranking import Ranking, ranking

__all__ = ["Settings", "Span"]

Span = tuple[int, int]  # steps [start, stop)
_STEPS = 10**12


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings of training.

    Attributes:
      steps: total number of steps.
      batch_size: examples per step, over all devices.
      steps_per_dispatch: steps in one call of the compiled program. More are faster, except for
        plain convolutions on CPU, which XLA compiles badly inside a loop: use 1 there.
      log_every: steps between records; a record is the mean over the last dispatch.
      checkpoint_every: steps between checkpoints, each with an evaluation; 0 for only at the end.
      keep_last: number of newest checkpoints to keep.
      keep_best: number of further checkpoints to keep, those of the best evaluations.
      best_metric: name of the metric of evaluations that decides which is the best.
      best_direction: `'max'` or `'min'`; `'auto'` for metrics that have a direction.
      patience: evaluations in a row without a new best one after which training ends; 0 for never.
        In a sweep each model stops by itself.
      ema_decay: of the moving average of the weights, which evaluation uses; 0 for none.
      grad_accumulation_steps: micro-batches that a batch is split into, to save memory.
      max_consecutive_nonfinite: number of consecutive steps with a non-finite gradient after which
        training fails.
    """

    steps: int = field(3000, "total number of steps", low=1, high=_STEPS)
    batch_size: int = field(
        128,
        "examples per step, over all devices",
        low=1,
        high=2**20,
        reason="more would not fit into memory",
    )
    steps_per_dispatch: int = field(
        20,
        "steps in one call of the compiled program; 1 for plain convolutions on CPU",
        low=1,
        high=100_000,
        reason="a dispatch cannot be interrupted",
    )
    log_every: int = field(100, "steps between records", low=1, high=_STEPS)
    checkpoint_every: int = field(
        1000, "steps between checkpoints; 0: only at the end", low=0, high=_STEPS
    )
    keep_last: int = field(2, "newest checkpoints to keep", low=1)
    keep_best: int = field(1, "further checkpoints to keep, of the best evaluations", low=0)
    best_metric: str = field("elbo", "metric of evaluations that decides which is the best")
    best_direction: str = field(
        "auto", "whether its highest or its lowest value is best", choices=("auto", "max", "min")
    )
    patience: int = field(
        0, "evaluations in a row without a new best one, then training ends; 0: never", low=0
    )
    ema_decay: float = field(
        0.0,
        "of the moving average of the weights, which evaluation uses; 0: none",
        low=0,
        high=1,
        below=True,
    )
    grad_accumulation_steps: int = field(
        1, "micro-batches that a batch is split into, to save memory", low=1, high=2**20
    )
    max_consecutive_nonfinite: int = field(
        20, "steps in a row with a non-finite gradient after which training fails", low=1
    )

    def __post_init__(self) -> None:
        check_fields(self, "train")
        _ = self.ranking  # raises if it is unclear

    @property
    def ranking(self) -> Ranking:
        """By which evaluations are ranked."""
        return ranking(self.best_metric, self.best_direction)

    def saves_at(self, step: int) -> bool:
        """Whether a checkpoint is saved after this many steps."""
        return step == self.steps or bool(
            self.checkpoint_every and step % self.checkpoint_every == 0
        )

    def spans(self, start: int) -> Iterator[Span]:
        """The dispatches from `start` on; each ends at the next step that logs or saves."""
        intervals = [self.steps_per_dispatch, self.log_every, self.checkpoint_every]
        while start < self.steps:
            stop = min(*(start - start % n + n for n in intervals if n), self.steps)
            yield start, stop
            start = stop
