"""Mutual information between binned codes and factors, from joint histograms."""

import jax
import jax.numpy as jnp

__all__ = [
    "BINS",
    "binned",
    "entropy",
    "information_and_entropy",
    "joint_counts",
    "mutual_information",
]

BINS = 20  # as in 1811.12359, appendix on metrics


def binned(codes: jax.Array, bins: int) -> jax.Array:
    """The bin of each value, int32 in 0..bins−1, of `bins` equal bins per column.

    They reach from the smallest to the largest value of the column; a bin includes its lower edge,
    the last also its upper. A constant column is in one bin.

    Args:
      codes: float32 `[N, D]`.
      bins: number of bins.
    """
    edges = jnp.linspace(codes.min(axis=0), codes.max(axis=0), bins + 1, axis=0)[1:-1]  # [B - 1, D]
    return (codes[:, None] >= edges[None]).sum(axis=1, dtype=jnp.int32)


def joint_counts(x: jax.Array, y: jax.Array, sizes: tuple[int, int]) -> jax.Array:
    """How often each pair of values occurs together: int32 `[D, K, A, B]`.

    Args:
      x: int32 `[N, D]` in 0..A−1.
      y: int32 `[N, K]` in 0..B−1.
      sizes: A and B.
    """
    (a, b), d, k = sizes, x.shape[1], y.shape[1]
    pair = jnp.arange(d, dtype=jnp.int32)[:, None] * k + jnp.arange(k, dtype=jnp.int32)[None]
    cell = (pair[None] * a + x[:, :, None]) * b + y[:, None, :]  # [N, D, K]
    counts = jax.ops.segment_sum(jnp.ones(cell.size, jnp.int32), cell.ravel(), d * k * a * b)
    return counts.reshape(d, k, a, b)


def mutual_information(counts: jax.Array) -> jax.Array:
    """Σ p(a, b) log [p(a, b) / (p(a) p(b))] in nats, of counts `[..., A, B]`."""
    n = counts.astype(jnp.float32)
    total = n.sum(axis=(-2, -1), keepdims=True)
    marginals = n.sum(axis=-1, keepdims=True), n.sum(axis=-2, keepdims=True)
    log_ratio = _log(n) + _log(total) - _log(marginals[0]) - _log(marginals[1])
    return (n / total * log_ratio).sum(axis=(-2, -1))


def entropy(counts: jax.Array) -> jax.Array:
    """−Σ p log p in nats, of counts `[..., A]`."""
    n = counts.astype(jnp.float32)
    p = n / n.sum(axis=-1, keepdims=True)
    return -(p * _log(p)).sum(axis=-1)


def information_and_entropy(
    codes: jax.Array, classes: jax.Array, bins: int, max_classes: int
) -> tuple[jax.Array, jax.Array]:
    """I(z_d; y_k) `[D, K]` and H(y_k) `[K]` in nats.

    Args:
      codes: float32 `[N, D]`.
      classes: int32 `[N, K]` in 0..max_classes−1.
      bins: of the codes.
      max_classes: number of classes of the factor that has the most.
    """
    counts = joint_counts(binned(codes, bins), classes, (bins, max_classes))
    return mutual_information(counts), entropy(counts[0].sum(axis=-2))


def _log(x: jax.Array) -> jax.Array:
    """log x, and 0 at 0, where it is multiplied by 0."""
    return jnp.log(jnp.where(x > 0, x, 1.0))
