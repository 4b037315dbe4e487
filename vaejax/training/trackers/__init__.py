"""Trackers of experiments, which get the records of a run besides `metrics.jsonl`.

Each is imported when a config names it. One that fails is left out with a warning: the run goes on.
"""

from vaejax.training.trackers.open import check_trackers, open_trackers
from vaejax.training.trackers.options import LogFields
from vaejax.training.trackers.trackers import Target, Tracker, Trackers

__all__ = ["LogFields", "Target", "Tracker", "Trackers", "check_trackers", "open_trackers"]
