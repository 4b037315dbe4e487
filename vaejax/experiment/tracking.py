"""The trackers of a training, opened from its config and closed at its end."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vaejax.experiment.workdir import Config, flatten
from vaejax.training.trackers import Trackers, open_trackers

__all__ = ["tracking"]


@contextmanager
def tracking(config: Config, workdir: Path) -> Iterator[Trackers]:
    """The trackers that `log.to` names; none that the process does not need.

    Args:
      config: of a run or a sweep.
      workdir: of it.
    """
    if "log" not in config:  # of a program that builds configs itself
        yield Trackers()
        return
    trackers = open_trackers(config["log"], workdir, flatten(config))
    try:
        yield trackers
    except BaseException:
        trackers.close(failed=True)
        raise
    trackers.close()
