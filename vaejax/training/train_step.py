"""The training state, and the training step of any family."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from vaejax.core import game
from vaejax.core.game import Batch, Family, Losses, Params, Trace
from vaejax.core.rng import Stream, key_of
from vaejax.core.types import Metrics, PyTree, Step
from vaejax.losses.metrics import trace_metrics

__all__ = [
    "Metrics",
    "TrainState",
    "best_params",
    "eval_params",
    "init_state",
    "make_step",
    "steps_taken",
]


class TrainState(NamedTuple):
    """The state that a checkpoint stores.

    Attributes:
      step: number of steps taken, int32 `[]`.
      params: parameter groups.
      opt_state: of the optimizers of all players.
      ema: moving average of `params`, or `{}` if there is none.
      skipped: number of consecutive steps, up to this one, with a non-finite gradient or update.
      total_skipped: number of all steps with a non-finite gradient or update.
      best: score of the best evaluation, higher is better, float32 `[]`; see `selection`.
      evaluations: number of evaluations.
      since_best: number of evaluations after the best one.
      best_step: number of steps at the best one.
      best_params: its parameters, of every model of a sweep with a validation split; else `{}`.
    """

    step: jax.Array
    params: Params
    opt_state: PyTree
    ema: Params
    skipped: jax.Array
    total_skipped: jax.Array
    best: jax.Array
    evaluations: jax.Array
    since_best: jax.Array
    best_step: jax.Array
    best_params: Params


def init_state(
    family: Family,
    seed: Step,
    batch: Batch,
    ema_decay: float = 0.0,
    initial: Params | None = None,
    keep_best: bool = False,
) -> TrainState:
    """The state before the first step.

    Args:
      family: the family to train.
      seed: of the initialisation.
      batch: for data-dependent initialisation.
      ema_decay: of the moving average of the parameters; 0 for none.
      initial: values of some of the parameters, nested dicts that may lack groups and arrays.
      keep_best: whether the state has `best_params`.
    """
    params = _replaced(game.init(family, key_of(seed, Stream.INIT), batch), initial or {})
    opt_state = game.optimizer(family.players).init(params)
    ema = jax.tree.map(jnp.copy, params) if ema_decay else {}
    best = jax.tree.map(jnp.copy, params) if keep_best else {}
    step, skipped, total, evaluations, since, at = (jnp.zeros((), jnp.int32) for _ in range(6))
    return TrainState(
        step, params, opt_state, ema, skipped, total, jnp.zeros(()), evaluations, since, at, best
    )


def _replaced(params: PyTree, values: PyTree) -> PyTree:
    """Nested dicts with the values of others, where these have one."""
    if not isinstance(values, Mapping):
        return jnp.asarray(values, params.dtype)
    return {k: _replaced(v, values[k]) if k in values else v for k, v in params.items()}


def eval_params(state: TrainState) -> Params:
    """The weights for evaluation and sampling: the moving average if there is one."""
    return state.ema or state.params


def steps_taken(state: TrainState) -> int:
    """The number of steps of a state; in a sweep, of the model that has taken most."""
    return int(state.step if state.step.ndim == 0 else state.step.max())


def best_params(state: TrainState) -> Params:
    """The weights of the best evaluation where the state has them, else `eval_params`."""
    return state.best_params or eval_params(state)


def _norm(tree: PyTree) -> jax.Array:
    """√Σ x² over all leaves; not finite if any x is not finite or is above 1e19.

    Computed by dot products: XLA's sums are scalar code on CPU, which is a large part of a small
    model's step.
    """
    leaves = [leaf.astype(jnp.float32) for leaf in jax.tree.leaves(tree)]
    highest = jax.lax.Precision.HIGHEST
    squares = [jnp.tensordot(x, x, axes=x.ndim, precision=highest) for x in leaves]
    return jnp.sqrt(jnp.stack(squares).sum())


def _compute_if(pred: jax.Array, compute: Callable[[], PyTree], otherwise: PyTree) -> PyTree:
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
        params: Params, step: jax.Array, batch: Batch, key: jax.Array, _: jax.Array
    ) -> tuple[Params, Losses, Trace]:
        def add(
            total: Params, inputs: tuple[Batch, jax.Array]
        ) -> tuple[Params, tuple[Losses, Trace]]:
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
    **extra: PyTree,
) -> tuple[Params, PyTree, Params, jax.Array]:
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
    patience: int = 0,
) -> Callable[[TrainState, Batch, Step], tuple[TrainState, Metrics, jax.Array]]:
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
      patience: number of evaluations after the best one from which on the state stays unchanged,
        except for `step`; 0 for no limit.

    Returns:
      `(state, batch, seed) -> (state, metrics, whether the step was taken)`.
    """
    gradient = game.game_gradient(game.losses_and_trace(family), family.players)
    if grad_accumulation_steps > 1:
        gradient = _accumulate_gradients(gradient, grad_accumulation_steps)
    tx = game.optimizer(family.players)

    def step_fn(
        state: TrainState, batch: Batch, seed: Step
    ) -> tuple[TrainState, Metrics, jax.Array]:
        key, tx_key = jax.random.split(key_of(seed, Stream.STEP, state.step))
        grads, losses, trace = gradient(state.params, state.step, batch, key, state.step)
        norm = _norm(grads)

        def update() -> tuple[Params, PyTree, Params, jax.Array]:
            return _update(tx, state, grads, ema_decay, trace=trace, losses=losses, key=tx_key)

        finite, count = jnp.isfinite(norm), state.skipped + 1
        if max_consecutive_nonfinite:
            finite &= state.skipped < max_consecutive_nonfinite
            count = jnp.minimum(count, max_consecutive_nonfinite)
        stopped = state.since_best >= patience if patience else None
        moves = finite if stopped is None else finite & ~stopped
        unchanged = state.params, state.opt_state, state.ema, moves
        params, opt_state, ema, taken = _compute_if(moves, update, unchanged)
        skipped = jnp.where(taken, 0, count).astype(jnp.int32)
        metrics = {name: value.mean() for name, value in trace_metrics(losses, trace).items()}
        metrics["grad_norm"] = norm
        total = state.total_skipped + jnp.logical_not(taken).astype(jnp.int32)
        if stopped is not None:
            skipped = jnp.where(stopped, state.skipped, skipped)
            total = jnp.where(stopped, state.total_skipped, total)
            taken |= stopped
        state = state._replace(
            step=state.step + 1,
            params=params,
            opt_state=opt_state,
            ema=ema,
            skipped=skipped,
            total_skipped=total,
        )
        return state, metrics, taken

    return step_fn
