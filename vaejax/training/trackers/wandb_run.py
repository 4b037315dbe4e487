"""Weights & Biases. `WANDB_MODE=offline` writes to `wandb/` of the working directory alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from vaejax.core.paths import is_bucket
from vaejax.core.types import Untyped
from vaejax.training.trackers.trackers import Target, Tracker, new_id

__all__ = ["open_run"]


class _Run:
    def __init__(self, target: Target, run_id: str) -> None:
        import wandb

        self._wandb: Untyped = wandb
        self._run = wandb.init(
            project=target.project,
            name=target.name,
            id=run_id,
            resume="allow",
            dir=None if is_bucket(target.workdir) else str(target.workdir),
            config=dict(target.config),
            settings=wandb.Settings(console="off", silent=True),
        )
        # wandb's own step may not go back, as the records of a resumed run do.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    @property
    def run_id(self) -> str:
        return str(self._run.id)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log({"step": step, **values})

    def results(self, step: int, metrics: Mapping[str, float], figures: Sequence[Path]) -> None:
        table = self._wandb.Table(columns=["metric", "value"], data=sorted(metrics.items()))
        images = {f"figures/{path.stem}": self._wandb.Image(str(path)) for path in figures}
        self._run.log({"step": step, "final": table, **images})
        self._run.summary.update({f"final/{name}": value for name, value in metrics.items()})

    def close(self, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))


def open_run(target: Target) -> Tracker:
    """A run of wandb, a new one if the target has no id."""
    return _Run(target, target.run_id or new_id())
