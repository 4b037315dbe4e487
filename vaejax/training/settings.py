"""`Settings`: the length of training, and the steps at which it logs and saves."""

import dataclasses

__all__ = ["Settings", "Span"]

Span = tuple[int, int]  # steps [start, stop)


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
      keep_best: number of further checkpoints to keep, those of the highest evaluated ELBO.
      ema_decay: of the moving average of the weights, which evaluation uses; 0 for none.
      grad_accumulation_steps: micro-batches that a batch is split into, to save memory.
      max_consecutive_nonfinite: number of consecutive steps with a non-finite gradient after which
        training fails.
    """

    steps: int = 3000
    batch_size: int = 128
    steps_per_dispatch: int = 20
    log_every: int = 100
    checkpoint_every: int = 1000
    keep_last: int = 2
    keep_best: int = 1
    ema_decay: float = 0.0
    grad_accumulation_steps: int = 1
    max_consecutive_nonfinite: int = 20

    def __post_init__(self) -> None:
        positive = (
            "steps",
            "batch_size",
            "steps_per_dispatch",
            "log_every",
            "grad_accumulation_steps",
            "max_consecutive_nonfinite",
        )
        for name in positive:
            if getattr(self, name) < 1:
                raise ValueError(f"train.{name} must be at least 1, found {getattr(self, name)}")
        if self.checkpoint_every < 0 or self.keep_last < 1 or self.keep_best < 0:
            raise ValueError(
                "train.checkpoint_every and keep_best must be ≥ 0, keep_last ≥ 1, found "
                f"{self.checkpoint_every}, {self.keep_best}, {self.keep_last}"
            )
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"train.ema_decay must be in [0, 1), found {self.ema_decay}")

    def saves_at(self, step: int) -> bool:
        """Whether a checkpoint is saved after this many steps."""
        return step == self.steps or bool(
            self.checkpoint_every and step % self.checkpoint_every == 0
        )

    def spans(self, start: int) -> list[Span]:
        """The dispatches from `start` on; each ends at the next step that logs or saves."""
        intervals = [self.steps_per_dispatch, self.log_every, self.checkpoint_every]
        spans = []
        while start < self.steps:
            next_multiples = [start - start % n + n for n in intervals if n]
            spans.append((start, stop := min(*next_multiples, self.steps)))
            start = stop
        return spans
