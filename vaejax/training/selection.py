"""Selection by an evaluated metric: the best checkpoint, early stopping, lower learning rates.

An evaluation changes a few scalars of the training state, which checkpoints hold. What follows
from them is a function of the state, so a resumed run stops, and lowers its rates, where the
uninterrupted one would have.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.game import Params
from vaejax.core.types import PyTree
from vaejax.optimizers.reduce_on_plateau import observed, waits_for_metric
from vaejax.training.train_step import TrainState, eval_params

__all__ = ["has_stopped", "observe"]


def observe(state: TrainState, scores: np.ndarray | None, *, required: str = "") -> TrainState:
    """The state after an evaluation.

    Args:
      state: of the training, of one model or of a sweep.
      scores: of the evaluation, higher is better, `[]` or `[N]`; None if it lacks the metric.
      required: name of the metric, if something beside the ranking depends on it.

    Raises:
      ValueError: the metric is missing, and a learning rate or the end of training depends on it.
    """
    if scores is None:
        if required or waits_for_metric(state.opt_state):
            raise ValueError(
                f"the evaluation has no metric {required or 'that train.best_metric names'}, which "
                "train.patience and reduce_on_plateau depend on; choose another train.best_metric"
            )
        return state
    best, evaluations, since = (
        np.asarray(jax.device_get(a)) for a in (state.best, state.evaluations, state.since_best)
    )
    before = np.where(evaluations == 0, np.float32(-np.inf), best)
    improved = scores > before  # NaN never is
    best_step = np.where(improved, np.asarray(jax.device_get(state.step)), state.best_step)
    if state.best_params:
        shardings = jax.tree.map(lambda a: a.sharding, state.best_params)
        kept = _keep(state.best_params, eval_params(state), improved)
        state = state._replace(best_params=jax.device_put(kept, shardings))
    return state._replace(
        best_step=_put(best_step, state.best_step),
        best=_put(np.where(improved, scores, before), state.best),
        evaluations=_put(evaluations + 1, state.evaluations),
        since_best=_put(np.where(improved, 0, since + 1), state.since_best),
        opt_state=observed(state.opt_state, -scores, _put),
    )


@functools.partial(jax.jit, donate_argnums=0)
def _keep(best: Params, present: Params, improved: jax.Array) -> Params:
    """The present parameters of models `[N, ...]` that improved, else the best so far."""

    def choose(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.where(improved.reshape(-1, *(1,) * (a.ndim - 1)), b, a)

    return jax.tree.map(choose, best, present)


def has_stopped(state: TrainState, patience: int) -> bool:
    """Whether training has ended early, that of every model of a sweep.

    Args:
      state: of the training.
      patience: evaluations in a row without a new best one, after which it ends; 0 for never.
    """
    return bool(patience) and bool(np.all(jax.device_get(state.since_best) >= patience))


def _put(value: PyTree, like: jax.Array) -> jax.Array:
    """An array with the type and the sharding of another one."""
    return jax.device_put(np.asarray(value, like.dtype), like.sharding)
