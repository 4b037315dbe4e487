"""What a trained model computes for the rows of a batch: `(params, batch, key) -> arrays [B, ...]`.

`Run` maps these over arrays.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from vaejax.core.events import event
from vaejax.core.game import Batch, Family, Model, Params, losses_and_trace
from vaejax.core.types import PyTree
from vaejax.distributions.point_estimate import point_estimate
from vaejax.evaluation.imputation import imputer
from vaejax.evaluation.likelihood import log_likelihood
from vaejax.experiment.row_batches import latent_values
from vaejax.losses.metrics import trace_metrics

__all__ = ["encoding", "imputation", "reconstruction", "scores"]

MISSING = "missing"  # field of a batch that marks missing elements of the event
RowFunction = Callable[[Params, Batch, jax.Array], PyTree]


def encoding(model: Model) -> RowFunction:
    """Posterior means or code indices of every node; nothing is sampled."""

    def encode(params: Params, batch: Batch, key: jax.Array) -> PyTree:
        del key
        return tuple(latent_values(node) for node in model.encode(params, batch, None))

    return encode


def reconstruction(model: Model) -> RowFunction:
    """Point estimates of p(x | z) at the latents of `encoding`."""

    def reconstruct(params: Params, batch: Batch, key: jax.Array) -> PyTree:
        del key
        zs = tuple(node.z for node in model.encode(params, batch, None))
        return point_estimate(model.decode(params, zs, batch))

    return reconstruct


def scores(family: Family, step: int, samples: int) -> RowFunction:
    """`nll`, `kl`, `elbo` and, from importance samples if there are any, `log_likelihood`.

    Args:
      family: of the run.
      step: of the parameters.
      samples: of z for each example; 0 for no `log_likelihood`.
    """
    losses_fn = losses_and_trace(family, training=False)
    estimate = log_likelihood(family.model, samples) if samples else None

    def score(params: Params, batch: Batch, key: jax.Array) -> PyTree:
        n = event(batch).shape[0]
        losses, trace = losses_fn(params, batch, key, jnp.int32(step))
        metrics = trace_metrics(losses, trace)
        result = {name: metrics[name].reshape(n, -1).mean(axis=1) for name in ("nll", "kl", "elbo")}
        if estimate is not None:
            result["log_likelihood"] = estimate(params, batch, jax.random.fold_in(key, 1))
        return result

    return score


def imputation(model: Model, steps: int) -> RowFunction:
    """The events with the elements that the field `missing` marks imputed, see `imputer`.

    Returns:
      A function whose results are pairs: means and samples.
    """
    impute = imputer(model, steps, steps // 4)

    def of_rows(params: Params, batch: Batch, key: jax.Array) -> PyTree:
        rest = {name: value for name, value in batch.items() if name != MISSING}
        return impute(params, rest, batch[MISSING] > 0, key)

    return of_rows
