"""MLflow: the server of `MLFLOW_TRACKING_URI`, or `mlflow.db` in the working directory."""

import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from vaejax.core.paths import absolute, is_bucket
from vaejax.core.types import Untyped
from vaejax.training.trackers.trackers import Target, Tracker

__all__ = ["open_run"]

_BATCH = 500  # metrics in one request, of which MLflow takes 1000
_NAME = re.compile(r"[^\w\-. /:]")  # what a metric's name may not contain


class _Run:
    def __init__(self, target: Target) -> None:
        from mlflow import MlflowClient

        folder = absolute(target.workdir)
        local = (
            None if os.environ.get("MLFLOW_TRACKING_URI") else f"sqlite:///{folder / 'mlflow.db'}"
        )
        if local and is_bucket(folder):
            raise ValueError(f"no database can be in {folder}: set MLFLOW_TRACKING_URI to a server")
        self._client: Untyped = MlflowClient(tracking_uri=local)
        if target.run_id is None:
            run = self._client.create_run(self._experiment(target, local), run_name=target.name)
            self._id = run.info.run_id
            self._client.log_dict(self._id, dict(target.config), "config.json")
        else:
            self._id = target.run_id
            self._client.update_run(self._id, "RUNNING")

    def _experiment(self, target: Target, local: str | None) -> str:
        if found := self._client.get_experiment_by_name(target.project):
            return str(found.experiment_id)
        artifacts = (absolute(target.workdir) / "mlartifacts").as_uri() if local else None
        return str(self._client.create_experiment(target.project, artifact_location=artifacts))

    @property
    def run_id(self) -> str:
        return str(self._id)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(_NAME.sub("_", name), v, now, step) for name, v in values.items()]
        for start in range(0, len(metrics), _BATCH):
            self._client.log_batch(self._id, metrics=metrics[start : start + _BATCH])

    def results(self, step: int, metrics: Mapping[str, float], figures: Sequence[Path]) -> None:
        self.scalars(step, {f"final/{name}": value for name, value in metrics.items()})
        self._client.log_dict(self._id, dict(metrics), "final.json")
        for path in figures:
            self._client.log_artifact(self._id, str(path), "figures")

    def close(self, failed: bool) -> None:
        self._client.set_terminated(self._id, "FAILED" if failed else "FINISHED")


def open_run(target: Target) -> Tracker:
    """A run of MLflow, a new one if the target has no id."""
    return _Run(target)
