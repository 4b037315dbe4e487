"""What training changes, and the one step that changes it, whatever the family."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from vaejax.core import game
from vaejax.core.game import Batch, Family, Losses, Params, Trace
from vaejax.core.rng import INIT, STEP, key_of
from vaejax.losses.metrics import figures

Figures = dict[str, jax.Array]


class TrainState(NamedTuple):
    """Everything that a resumed run needs.

    Attributes:
      step: how many steps were taken, int32 `[]`.
      params: parameter groups.
      opt_state: of the players' optimizers together.
      ema: moving average of `params`, or `{}` if none is kept.
      skipped: how many steps in a row, up to now, had a gradient or a move that was not
        finite.
    """

    step: jax.Array
    params: Params
    opt_state: Any
    ema: Params
    skipped: jax.Array


def init_state(family: Family, seed: Any, batch: Batch, ema_decay: float = 0.0) -> TrainState:
    """The state before the first step; `batch` serves data-dependent initialisation."""
    params = game.init(family, key_of(seed, INIT), batch)
    opt_state = game.optimizer(family.players).init(params)
    zero = jnp.zeros((), jnp.int32)
    ema = jax.tree.map(jnp.copy, params) if ema_decay else {}
    return TrainState(zero, params, opt_state, ema, jnp.zeros((), jnp.int32))


def eval_params(state: TrainState) -> Params:
    """The weights to evaluate and sample with: the moving average where there is one."""
    return state.ema or state.params


def _norm(tree: Any) -> jax.Array:
    """√Σ x² over all leaves; not finite if any x is not, or is beyond 1e19.

    By products: XLA's sums are scalar code on CPU, much of a small model's step.
    """
    leaves = [leaf.astype(jnp.float32) for leaf in jax.tree.leaves(tree)]
    highest = jax.lax.Precision.HIGHEST
    squares = [jnp.tensordot(x, x, axes=x.ndim, precision=highest) for x in leaves]
    return jnp.sqrt(jnp.stack(squares).sum())


def _either(pred: jax.Array, moved: Callable[[], Any], still: Any) -> Any:
    """`moved()` where it holds, else `still`.

    On CPU a branch moves the state where it lies; to choose between old and new would be to keep
    both, and to pass them through memory once more. An accelerator would wait for the host to
    branch.
    """
    if jax.default_backend() == "cpu":
        return jax.lax.cond(pred, moved, lambda: still)
    return jax.tree.map(lambda new, old: jnp.where(pred, new, old), moved(), still)


def _accumulated(
    gradient: Callable[..., tuple[Params, Losses, Trace]], micro_batches: int
) -> Callable[..., tuple[Params, Losses, Trace]]:
    """The mean gradient over micro-batches taken one after the other, to save memory.

    The traces are put together again. What the optimizers do not read of them is never stored,
    since the compiler drops unused outputs of a loop. A loss that is a statistic of the batch
    becomes one of the micro-batch.
    """

    def accumulated(
        params: Params, step: jax.Array, batch: Batch, key: jax.Array, _: Any
    ) -> tuple[Params, Losses, Trace]:
        def micro(total: Params, inputs: tuple[Batch, jax.Array]) -> tuple[Params, Any]:
            part, number = inputs
            grads, losses, trace = gradient(
                params, step, part, jax.random.fold_in(key, number), step
            )
            total = jax.tree.map(lambda a, b: a + b / micro_batches, total, grads)
            return total, (losses, trace._replace(step=None))

        parts = jax.tree.map(
            lambda x: x.reshape(micro_batches, x.shape[0] // micro_batches, *x.shape[1:]), batch
        )
        zeros = jax.tree.map(jnp.zeros_like, params)
        grads, outputs = jax.lax.scan(micro, zeros, (parts, jnp.arange(micro_batches)))
        losses, trace = jax.tree.map(
            lambda x: jax.lax.collapse(x, 0, 2) if x.ndim > 1 else x.mean(), outputs
        )
        return grads, losses, trace._replace(step=step)

    return accumulated


def make_step(
    family: Family, *, ema_decay: float = 0.0, accumulate: int = 1, max_skipped: int = 0
) -> Callable[[TrainState, Batch, Any], tuple[TrainState, Figures, jax.Array]]:
    """The training step of any family.

    In order: every player's gradient; their optimizers, all at once; the moving average. If a
    gradient is not finite, nothing of that is done, and it is counted in `skipped`; if only the
    move that is made of it is not finite, the parameters stay, and it is counted as well.

    Args:
      family: what to train.
      ema_decay: of the moving average of the parameters; 0 keeps none.
      accumulate: micro-batches that the batch is split into.
      max_skipped: after so many skipped steps in a row the state stays as it is; 0: never.

    Returns:
      `(state, batch, seed) -> (state, figures, whether the step was taken)`.
    """
    gradient = game.game_gradient(game.losses_and_trace(family), family.players)
    if accumulate > 1:
        gradient = _accumulated(gradient, accumulate)
    tx = game.optimizer(family.players)

    def step_fn(
        state: TrainState, batch: Batch, seed: Any
    ) -> tuple[TrainState, Figures, jax.Array]:
        key, tx_key = jax.random.split(key_of(seed, STEP, state.step))
        grads, losses, trace = gradient(state.params, state.step, batch, key, state.step)
        norm = _norm(grads)

        def move() -> tuple[Params, Any, Params, jax.Array]:
            updates, opt_state = tx.update(
                grads, state.opt_state, state.params, trace=trace, losses=losses, key=tx_key
            )
            # Of a finite gradient, by a rate that is not, or by Adam's division by an ε of 0.
            ok = jnp.isfinite(_norm(updates))
            updates = jax.tree.map(lambda u: jnp.where(ok, u, 0), updates)
            params = optax.apply_updates(state.params, updates)
            if not ema_decay:
                return params, opt_state, state.ema, ok
            # Young averages forget the initialisation faster.
            t = state.step.astype(jnp.float32)
            decay = jnp.minimum(ema_decay, (1 + t) / (10 + t))
            ema = jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, state.ema, params)
            return params, opt_state, ema, ok

        taken, count = jnp.isfinite(norm), state.skipped + 1
        if max_skipped:
            taken &= state.skipped < max_skipped
            count = jnp.minimum(count, max_skipped)
        still = state.params, state.opt_state, state.ema, taken
        params, opt_state, ema, ok = _either(taken, move, still)
        skipped = jnp.where(ok, 0, count).astype(jnp.int32)
        named = {name: value.mean() for name, value in figures(losses, trace).items()}
        named["grad_norm"] = norm
        return TrainState(state.step + 1, params, opt_state, ema, skipped), named, ok

    return step_fn
