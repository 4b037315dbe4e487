"""What a model of sequences expects of the frames to come, step by step and in one jump."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.events import event
from vaejax.core.game import Model, Params
from vaejax.data import Source
from vaejax.data.batches import eval_batches
from vaejax.data.preprocess import event_shape, preparation

FUTURES = 6  # a stream of random keys of its own
_HORIZONS = (1, 2, 3, 4, 5, 10, 20, 50, 100)


class Futures(NamedTuple):
    """Means of p(x_t | z_t), for R draws of everything.

    Attributes:
      past: z_t as it is believed at each of the K times given, `[R, B, K, ...]`.
      ahead: z_t rolled out step by step from the last of them, `[R, B, T − K, ...]`.
    """

    past: jax.Array
    ahead: jax.Array


def given_of(length: int) -> int:
    """How many of a sequence's frames predictions start from: three quarters."""
    return max(1, 3 * length // 4)


def decoded(model: Model, params: Params, zs: tuple[jax.Array, ...]) -> jax.Array:
    """Means of p(x | z) for z of any leading axes, `[..., D]` each."""
    lead = zs[0].shape[:-1]
    mean = model.decode(params, tuple(z.reshape(-1, z.shape[-1]) for z in zs)).mean
    return mean.reshape(*lead, *mean.shape[1:])


def futures(
    model: Model,
    params: Params,
    x: jax.Array,
    ahead: int,
    draws: int,
    key: jax.Array,
    temperature: float | jax.Array = 1.0,
) -> Futures:
    """Beliefs about the given frames, and rollouts of those to come.

    Args:
      model: of sequences.
      params: of the model.
      x: given frames, `[B, K, ...]`.
      ahead: steps to go on.
      draws: R.
      key: of the draws.
      temperature: of the draws.
    """
    ask = model.sequences
    b = ask.beliefs(params, x)  # [B, K, D]
    ones = jnp.ones(ahead, jnp.int32)

    def one(key: jax.Array) -> Futures:
        now_key, key = jax.random.split(key)
        zs = ask.believe(params, b.reshape(-1, b.shape[-1]), now_key, temperature).zs
        zs = tuple(z.reshape(*b.shape[:2], -1) for z in zs)
        run = ask.rollout(params, tuple(z[:, -1] for z in zs), ones, key, temperature)
        run = tuple(jnp.swapaxes(z, 0, 1) for z in run)
        return Futures(decoded(model, params, zs), decoded(model, params, run))

    return jax.lax.map(one, jax.random.split(key, draws))


def jumps(
    model: Model, params: Params, x: jax.Array, deltas: jax.Array, draws: int, key: jax.Array
) -> jax.Array:
    """Means of p(x_(K+δ)) `[R, B, S, ...]`, each reached in one jump from the last given frame.

    Args:
      model: of sequences.
      params: of the model.
      x: given frames, `[B, K, ...]`.
      deltas: int32 `[S]`.
      draws: R.
      key: of the draws.
    """
    ask = model.sequences
    b = ask.beliefs(params, x)[:, -1]

    def one(key: jax.Array) -> jax.Array:
        now_key, key = jax.random.split(key)
        zs = ask.believe(params, b, now_key).zs

        def land(delta: jax.Array, key: jax.Array) -> tuple[jax.Array, ...]:
            return ask.jump(params, zs, jnp.broadcast_to(delta, b.shape[:1]), key).zs

        run = jax.vmap(land, out_axes=1)(deltas, jax.random.split(key, len(deltas)))
        return decoded(model, params, run)

    return jax.lax.map(one, jax.random.split(key, draws))


def horizon_errors(
    model: Model,
    params: Params,
    source: Source,
    key: jax.Array,
    *,
    binarize: str = "none",
    draws: int = 16,
    batch_size: int = 100,
    limit: int = 1000,
) -> dict[str, float]:
    """Squared errors of the expected frames, given three quarters of a sequence.

    What is expected is the mean over draws; errors are averaged over a frame's values.

    Args:
      model: of sequences.
      params: of the model.
      source: the evaluation split.
      key: of the draws.
      binarize: as in training.
      draws: that the expectation is the mean of.
      batch_size: sequences at once.
      limit: sequences at most.

    Returns:
      `mse_ahead/h`, h steps ahead step by step; `mse_jump/h` in one jump, up to the longest that
      the model was trained on; `mse_still/h`, if the last given frame is expected to stay.
    """
    length = event_shape(source)[0]
    given = given_of(length)
    horizons = [h for h in _HORIZONS if h <= length - given]
    jumped = [h for h in horizons if h <= model.sequences.longest and model.sequences.longest > 1]
    prepare = preparation(source, binarize)

    @jax.jit
    def judge(params: Params, rows: Any, mask: jax.Array, key: jax.Array) -> dict[str, jax.Array]:
        data_key, ahead_key, jump_key = jax.random.split(key, 3)
        x = event(prepare(rows, data_key))
        past, truth = x[:, :given], x[:, given:]

        def error(expected: jax.Array, hs: list[int]) -> jax.Array:  # [B, S, ...] -> [S]
            wanted = truth[:, np.array(hs) - 1]
            gap = jnp.square(expected - wanted).reshape(*wanted.shape[:2], -1).mean(axis=2)
            return (gap * mask[:, None]).sum(axis=0)

        found = {}
        far = futures(model, params, past, horizons[-1], draws, ahead_key).ahead.mean(axis=0)
        found["mse_ahead"] = error(far[:, np.array(horizons) - 1], horizons)
        found["mse_still"] = error(jnp.repeat(past[:, -1:], len(horizons), axis=1), horizons)
        if jumped:
            at = jnp.asarray(jumped, jnp.int32)
            there = jumps(model, params, past, at, draws, jump_key).mean(axis=0)
            found["mse_jump"] = error(there, jumped)
        return found

    if not horizons:
        return {}
    total: Any = None
    for number, (indices, mask) in enumerate(eval_batches(source.size, batch_size, limit)):
        part = judge(
            params, source.take(indices), mask.astype(np.float32), jax.random.fold_in(key, number)
        )
        part = jax.tree.map(lambda a: np.asarray(a, np.float64), part)
        total = part if total is None else jax.tree.map(np.add, total, part)
    size = min(limit, source.size)
    names = {"mse_ahead": horizons, "mse_still": horizons, "mse_jump": jumped}
    return {
        f"{name}/{h}": float(value) / size
        for name, values in total.items()
        for h, value in zip(names[name], values, strict=True)
    }
