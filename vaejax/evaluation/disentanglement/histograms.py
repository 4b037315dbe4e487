"""Mutual information of codes in bins with factors, from joint histograms."""

import jax
import jax.numpy as jnp

BINS = 20  # as in 1811.12359, appendix on metrics


def binned(codes: jax.Array, bins: int) -> jax.Array:
    """The bin of each value, int32 in 0..bins−1, of `bins` equal bins a column.

    They reach from the least to the largest value of the column; a bin holds its lower edge, the
    last also its upper. A constant column is in one bin.

    Args:
      codes: float32 `[N, D]`.
      bins: how many.
    """
    edges = jnp.linspace(codes.min(axis=0), codes.max(axis=0), bins + 1, axis=0)[1:-1]  # [B - 1, D]
    return (codes[:, None] >= edges[None]).sum(axis=1, dtype=jnp.int32)


def joint_counts(one: jax.Array, other: jax.Array, most: tuple[int, int]) -> jax.Array:
    """How often values meet: int32 `[D, K, A, B]`.

    Args:
      one: int32 `[N, D]` in 0..A−1.
      other: int32 `[N, K]` in 0..B−1.
      most: A and B.
    """
    (a, b), d, k = most, one.shape[1], other.shape[1]
    pair = jnp.arange(d, dtype=jnp.int32)[:, None] * k + jnp.arange(k, dtype=jnp.int32)[None]
    cell = (pair[None] * a + one[:, :, None]) * b + other[:, None, :]  # [N, D, K]
    counts = jax.ops.segment_sum(jnp.ones(cell.size, jnp.int32), cell.ravel(), d * k * a * b)
    return counts.reshape(d, k, a, b)


def mutual_information(counts: jax.Array) -> jax.Array:
    """Σ p(a, b) log [p(a, b) / (p(a) p(b))] in nats, of counts `[..., A, B]`."""
    n = counts.astype(jnp.float32)
    total = n.sum(axis=(-2, -1), keepdims=True)
    margins = n.sum(axis=-1, keepdims=True), n.sum(axis=-2, keepdims=True)
    log_ratio = _log(n) + _log(total) - _log(margins[0]) - _log(margins[1])
    return (n / total * log_ratio).sum(axis=(-2, -1))


def entropy(counts: jax.Array) -> jax.Array:
    """−Σ p log p in nats, of counts `[..., A]`."""
    n = counts.astype(jnp.float32)
    p = n / n.sum(axis=-1, keepdims=True)
    return -(p * _log(p)).sum(axis=-1)


def information_and_entropy(
    codes: jax.Array, classes: jax.Array, bins: int, most: int
) -> tuple[jax.Array, jax.Array]:
    """I(z_d; y_k) `[D, K]` and H(y_k) `[K]` in nats.

    Args:
      codes: float32 `[N, D]`.
      classes: int32 `[N, K]` in 0..most−1.
      bins: of the codes.
      most: classes of the factor that has the most.
    """
    counts = joint_counts(binned(codes, bins), classes, (bins, most))
    return mutual_information(counts), entropy(counts[0].sum(axis=-2))


def _log(x: jax.Array) -> jax.Array:
    return jnp.log(jnp.where(x > 0, x, 1.0))
