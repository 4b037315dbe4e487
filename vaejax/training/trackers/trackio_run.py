"""Trackio: the local database of `TRACKIO_DIR`, or what `TRACKIO_SPACE_ID` names."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from vaejax.core.types import Untyped
from vaejax.training.trackers.trackers import Target, Tracker, new_id

__all__ = ["open_run"]


class _Run:
    def __init__(self, target: Target, name: str) -> None:
        import trackio

        self._trackio: Untyped = trackio
        self._name = name
        self._run = trackio.init(
            project=target.project,
            name=name,
            config=dict(target.config),
            resume="allow",
            embed=False,
            auto_log_cpu=False,
            auto_log_gpu=False,
        )

    @property
    def run_id(self) -> str:
        return self._name

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def results(self, step: int, metrics: Mapping[str, float], figures: Sequence[Path]) -> None:
        rows = [list(row) for row in sorted(metrics.items())]
        table = self._trackio.Table(columns=["metric", "value"], data=rows)
        images = {f"figures/{path.stem}": self._trackio.Image(path) for path in figures}
        final = {f"final/{name}": value for name, value in metrics.items()}
        self._run.log({"final": table, **final, **images}, step=step)

    def close(self, failed: bool) -> None:
        del failed
        self._run.finish()


def open_run(target: Target) -> Tracker:
    """A run of Trackio, which it identifies by its name: a new one if the target has no id."""
    return _Run(target, target.run_id or f"{target.name}-{new_id()}")
