"""Class probabilities of events by a trained model."""

from typing import Protocol

import jax
import numpy as np

from vaejax.core.game import Batch, Family, Params
from vaejax.core.types import Options, PyTree, UserArray
from vaejax.data.spec import DataSpec
from vaejax.experiment.user_arrays import event_fields

__all__ = ["classify"]


class _Run(Protocol):
    """What is needed of a `Run`."""

    config: Options
    family: Family
    spec: DataSpec

    def _map(self, name: PyTree, function: PyTree, rows: PyTree) -> PyTree: ...


def classify(self: _Run, x: UserArray) -> np.ndarray:
    """Class probabilities of events, by a classifier or a semi-supervised model.

    Args:
      self: the run.
      x: events, see the class.

    Returns:
      `[N, K]`, float32.

    Raises:
      ValueError: the model has no classes, or x does not fit it.
    """
    logits = self.family.model.classify
    if logits is None:
        raise ValueError(
            f"a model of the family {self.config['family']!r} does not classify: use 'm2' or "
            "'classifier'"
        )

    def probabilities(params: Params, batch: Batch, key: jax.Array) -> PyTree:
        del key
        return jax.nn.softmax(logits(params, batch))

    rows, single = event_fields(self.spec, x)
    result: np.ndarray = self._map("classify", probabilities, rows)
    return result[0] if single else result
