"""The section `log` of a config."""

import dataclasses

from vaejax.core.fields import field

__all__ = ["LogFields"]


@dataclasses.dataclass(frozen=True)
class LogFields:
    """Where the records of a training go, besides `metrics.jsonl`."""

    to: str = field(
        "tensorboard", "of tensorboard, wandb, mlflow, trackio, as in wandb,mlflow; empty: none"
    )
    project: str = field("vaejax", "of the runs of wandb, mlflow (experiment) and trackio")
    name: str = field("", "of the run there; empty: that of the working directory")
