"""The training state, and the training step of any family."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from vaejax.core import game
from vaejax.core.game import Batch, Family, Losses, Params, Trace
from vaejax.core.rng import Stream, key_of
from vaejax.losses.metrics import trace_metrics

__all__ = ["Metrics", "TrainState", "eval_params", "init_state", "make_step"]

Metrics = dict[str, jax.Array]


class TrainState(NamedTuple):
    """The state that a checkpoint stores.

    Attributes:
      step: number of steps taken, int32 `[]`.
      params: parameter groups.
      opt_state: of the optimizers of all players.
      ema: moving average of `params`, or `{}` if there is none.
      skipped: number of consecutive steps, up to this one, with a non-finite gradient or update.
      total_skipped: number of all steps with a non-finite gradient or update.
    """

    step: jax.Array
    params: Params
    opt_state: Any
    ema: Params
    skipped: jax.Array
    total_skipped: jax.Array


def init_state(family: Family, seed: Any, batch: Batch, ema_decay: float = 0.0) -> TrainState:
    """The state before the first step; `batch` is for data-dependent initialisation."""
    params = game.init(family, key_of(seed, Stream.INIT), batch)
    opt_state = game.optimizer(family.players).init(params)
    zero = jnp.zeros((), jnp.int32)
    ema = jax.tree.map(jnp.copy, params) if ema_decay else {}
    return TrainState(zero, params, opt_state, ema, jnp.zeros_like(zero), jnp.zeros_like(zero))


def eval_params(state: TrainState) -> Params:
    """The weights for evaluation and sampling: the moving average if there is one."""
    return state.ema or state.params


def _norm(tree: Any) -> jax.Array:
    """√Σ x² over all leaves; not finite if any x is not finite or is above 1e19.

    Computed by dot products: XLA's sums are scalar code on CPU, which is a large part of a small
    model's step.
    """
    leaves = [leaf.astype(jnp.float32) for leaf in jax.tree.leaves(tree)]
    highest = jax.lax.Precision.HIGHEST
    squares = [jnp.tensordot(x, x, axes=x.ndim, precision=highest) for x in leaves]
    return jnp.sqrt(jnp.stack(squares).sum())


def _compute_if(pred: jax.Array, compute: Callable[[], Any], otherwise: Any) -> Any:
    """`compute()` if `pred`, else `otherwise`.

    A branch on CPU updates the state in place; selecting between the old and the new state would
    keep both in memory. On an accelerator a branch would synchronise with the host.
    """
    if jax.default_backend() == "cpu":
        return jax.lax.cond(pred, compute, lambda: otherwise)
    return jax.tree.map(lambda new, old: jnp.where(pred, new, old), compute(), otherwise)


def _accumulate_gradients(
    gradient: Callable[..., tuple[Params, Losses, Trace]], micro_batches: int
) -> Callable[..., tuple[Params, Losses, Trace]]:
    """The mean gradient over consecutive micro-batches, to save memory.

    The traces are concatenated. Parts that the optimizers do not read are never stored, since the
    compiler removes unused outputs of a loop. A loss that is a statistic of the batch becomes a
    statistic of the micro-batch.
    """

    def accumulated(
        params: Params, step: jax.Array, batch: Batch, key: jax.Array, _: Any
    ) -> tuple[Params, Losses, Trace]:
        def add(total: Params, inputs: tuple[Batch, jax.Array]) -> tuple[Params, Any]:
            micro_batch, number = inputs
            grads, losses, trace = gradient(
                params, step, micro_batch, jax.random.fold_in(key, number), step
            )
            total = jax.tree.map(lambda a, b: a + b / micro_batches, total, grads)
            return total, (losses, trace._replace(step=None))  # type: ignore[arg-type]  # no leaf

        parts = jax.tree.map(
            lambda x: x.reshape(micro_batches, x.shape[0] // micro_batches, *x.shape[1:]), batch
        )
        zeros = jax.tree.map(jnp.zeros_like, params)
        grads, outputs = jax.lax.scan(add, zeros, (parts, jnp.arange(micro_batches)))
        losses, trace = jax.tree.map(
            lambda x: jax.lax.collapse(x, 0, 2) if x.ndim > 1 else x.mean(), outputs
        )
        return grads, losses, trace._replace(step=step)

    return accumulated


def _update(
    tx: optax.GradientTransformationExtraArgs,
    state: TrainState,
    grads: Params,
    ema_decay: float,
    **extra: Any,
) -> tuple[Params, Any, Params, jax.Array]:
    """Parameters, optimizer state and moving average after an update; whether it was finite.

    A non-finite update leaves the parameters unchanged.
    """
    updates, opt_state = tx.update(grads, state.opt_state, state.params, **extra)
    # Not finite for a finite gradient if the learning rate is not, or Adam divides by an ε of 0.
    finite = jnp.isfinite(_norm(updates))
    updates = jax.tree.map(lambda u: jnp.where(finite, u, 0), updates)
    params = optax.apply_updates(state.params, updates)
    if not ema_decay:
        return params, opt_state, state.ema, finite
    # A smaller decay in early steps forgets the initialisation faster.
    t = state.step.astype(jnp.float32)
    decay = jnp.minimum(ema_decay, (1 + t) / (10 + t))
    ema = jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, state.ema, params)
    return params, opt_state, ema, finite


def make_step(
    family: Family,
    *,
    ema_decay: float = 0.0,
    grad_accumulation_steps: int = 1,
    max_consecutive_nonfinite: int = 0,
) -> Callable[[TrainState, Batch, Any], tuple[TrainState, Metrics, jax.Array]]:
    """The training step of a family.

    It computes every player's gradient, applies their optimizers simultaneously, and updates the
    moving average. If a gradient is not finite, the state stays unchanged except for `step` and
    the two counters; if only the resulting update is not finite, the parameters stay unchanged and
    the step counts as skipped too.

    Args:
      family: the family to train.
      ema_decay: of the moving average of the parameters; 0 for none.
      grad_accumulation_steps: micro-batches that the batch is split into.
      max_consecutive_nonfinite: number of consecutive skipped steps after which the state stays
        unchanged for good; 0 for no limit.

    Returns:
      `(state, batch, seed) -> (state, metrics, whether the step was taken)`.
    """
    gradient = game.game_gradient(game.losses_and_trace(family), family.players)
    if grad_accumulation_steps > 1:
        gradient = _accumulate_gradients(gradient, grad_accumulation_steps)
    tx = game.optimizer(family.players)

    def step_fn(
        state: TrainState, batch: Batch, seed: Any
    ) -> tuple[TrainState, Metrics, jax.Array]:
        key, tx_key = jax.random.split(key_of(seed, Stream.STEP, state.step))
        grads, losses, trace = gradient(state.params, state.step, batch, key, state.step)
        norm = _norm(grads)

        def update() -> tuple[Params, Any, Params, jax.Array]:
            return _update(tx, state, grads, ema_decay, trace=trace, losses=losses, key=tx_key)

        finite, count = jnp.isfinite(norm), state.skipped + 1
        if max_consecutive_nonfinite:
            finite &= state.skipped < max_consecutive_nonfinite
            count = jnp.minimum(count, max_consecutive_nonfinite)
        unchanged = state.params, state.opt_state, state.ema, finite
        params, opt_state, ema, taken = _compute_if(finite, update, unchanged)
        skipped = jnp.where(taken, 0, count).astype(jnp.int32)
        metrics = {name: value.mean() for name, value in trace_metrics(losses, trace).items()}
        metrics["grad_norm"] = norm
        total = state.total_skipped + jnp.logical_not(taken).astype(jnp.int32)
        state = TrainState(state.step + 1, params, opt_state, ema, skipped, total)
        return state, metrics, taken

    return step_fn
