"""How long to train, in which portions, and when something is due between them."""

import dataclasses

Span = tuple[int, int]  # steps [start, stop)


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to train.

    Attributes:
      steps: in all.
      batch_size: examples a step, over all devices.
      steps_per_dispatch: steps in one call of the compiled program. Many is faster, except for
        networks with plain convolutions on CPU, which XLA compiles badly inside a loop: 1.
      log_every: steps between records; a record is the mean over the last dispatch.
      checkpoint_every: steps between evaluations with a checkpoint; 0 for only at the end.
      keep_last: newest checkpoints to keep.
      keep_best: checkpoints of highest evaluated ELBO to keep as well.
      ema_decay: of the moving average of the weights, used for evaluation; 0 for none.
      accumulate: micro-batches that a batch is split into to save memory.
      max_skipped: steps in a row with a gradient that is not finite before training gives up.
    """

    steps: int = 3000
    batch_size: int = 128
    steps_per_dispatch: int = 20
    log_every: int = 100
    checkpoint_every: int = 1000
    keep_last: int = 2
    keep_best: int = 1
    ema_decay: float = 0.0
    accumulate: int = 1
    max_skipped: int = 20

    def __post_init__(self) -> None:
        counts = ("steps", "batch_size", "steps_per_dispatch", "log_every", "accumulate")
        for name in (*counts, "max_skipped"):
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
        """Whether there is a checkpoint after this many steps."""
        return step == self.steps or bool(
            self.checkpoint_every and step % self.checkpoint_every == 0
        )

    def spans(self, start: int) -> list[Span]:
        """The dispatches from `start` on; each ends at the next step where anything is due."""
        every = [self.steps_per_dispatch, self.log_every, self.checkpoint_every]
        spans = []
        while start < self.steps:
            due = [start - start % n + n for n in every if n]
            spans.append((start, stop := min(*due, self.steps)))
            start = stop
        return spans
