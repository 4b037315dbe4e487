"""What a tracker does, and several of them as one that never fails."""

import contextlib
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from vaejax.core.types import Setting

__all__ = ["Target", "Tracker", "Trackers", "new_id", "warns_of_failure"]


class Target(NamedTuple):
    """The run of a tracker that records go to.

    Attributes:
      workdir: of the run; what a tracker writes without a server is in it, or where the tracker's
        own environment variables say.
      project: of the tracker's runs.
      name: of the run there.
      run_id: identifies the run; the same after a resume. None if the tracker chooses it.
      config: of the run, flat.
    """

    workdir: Path
    project: str
    name: str
    run_id: str | None
    config: Mapping[str, Setting]


class Tracker(Protocol):
    """A run of a tracker. Every method may raise; see `Trackers`."""

    @property
    def run_id(self) -> str:
        """Identifies the run."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """One point of each named curve. After a resume, steps that it had already come again."""

    def results(self, step: int, metrics: Mapping[str, float], figures: Sequence[Path]) -> None:
        """The final metrics, also as a table, and the figures, PNG files."""

    def close(self, failed: bool) -> None:
        """Writes everything and ends the tracker's session."""


class Trackers:
    """The trackers of a run. One that raises is left out from then on, with a line on stderr."""

    def __init__(
        self,
        trackers: Mapping[str, Tracker] | None = None,
        *,
        tensorboard: bool = True,
        prefix: str = "",
    ) -> None:
        """Several trackers as one.

        Args:
          trackers: by name.
          tensorboard: whether there are event files too, which `training.logging.Log` writes.
          prefix: of all names.
        """
        self._trackers = dict(trackers or {})
        self.tensorboard, self._prefix = tensorboard, prefix

    def with_prefix(self, prefix: str) -> "Trackers":
        """The same trackers, for records of another part of the run."""
        part = Trackers(tensorboard=self.tensorboard, prefix=f"{self._prefix}{prefix}")
        part._trackers = self._trackers  # a tracker that fails is left out of both
        return part

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker`."""
        named = {f"{self._prefix}{name}": float(value) for name, value in values.items()}
        self._call(lambda tracker: tracker.scalars(step, named))

    def results(self, step: int, metrics: Mapping[str, float], figures: Sequence[Path]) -> None:
        """See `Tracker`."""
        named = {f"{self._prefix}{name}": float(value) for name, value in metrics.items()}
        self._call(lambda tracker: tracker.results(step, named, figures))

    def close(self, failed: bool = False) -> None:
        """See `Tracker`."""
        self._call(lambda tracker: tracker.close(failed))
        self._trackers.clear()

    def _call(self, method: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._trackers.items()):
            with warns_of_failure(name) as failures:
                method(tracker)
            if failures:
                del self._trackers[name]


@contextlib.contextmanager
def warns_of_failure(name: str) -> Iterator[list[Exception]]:
    """Turns an error of a tracker into one line on stderr, and lists it."""
    failures: list[Exception] = []
    try:
        yield failures
    except Exception as error:
        failures.append(error)
        text = (str(error).strip().splitlines() or [""])[0]
        print(
            f"warning: {name} fails, the run goes on without it ({type(error).__name__}: {text})",
            file=sys.stderr,
        )


def new_id() -> str:
    """A random id of eight characters."""
    return uuid.uuid4().hex[:8]
