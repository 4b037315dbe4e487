"""Maximum mean discrepancy between samples of the aggregate posterior and of the prior."""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from vaejax.core.distances import squared_distances
from vaejax.core.game import Losses, LossTransform, Params, Trace
from vaejax.core.registry import near_names
from vaejax.losses.latents import continuous_z

__all__ = ["BANDWIDTHS", "KERNELS", "MMD_ESTIMATORS", "Kernel", "mmd", "squared_mmd"]

Kernel = Callable[[jax.Array, jax.Array], jax.Array]  # (squared distances, bandwidth) -> kernel

KERNELS: dict[str, Kernel] = {
    "rbf": lambda squared, bandwidth: jnp.exp(-squared / bandwidth),
    "imq": lambda squared, bandwidth: bandwidth / (bandwidth + squared),
}
# Bandwidths of kernels on D dimensions, in units of the squared standard deviation of the prior.
BANDWIDTHS: dict[str, Callable[[int], float]] = {
    "squared_dim": lambda dim: float(dim**2),
    "twice_dim": lambda dim: 2.0 * dim,
}
_DEFAULTS = {"rbf": "squared_dim", "imq": "twice_dim"}
MMD_ESTIMATORS = ("biased", "unbiased")


def _max_pairs() -> int:
    """Pairs in one chunk: 4 MiB on CPU, which fits its cache; otherwise 64 MiB."""
    return 2**20 if jax.default_backend() == "cpu" else 2**24


def _kernel_sum(
    x: jax.Array, y: jax.Array, kernel: Callable[[jax.Array], jax.Array], max_pairs: int
) -> jax.Array:
    """Σᵢⱼ k(‖xᵢ − yⱼ‖²), in chunks of rows if there are more than `max_pairs` pairs."""
    n, m = x.shape[0], y.shape[0]
    if n * m <= max_pairs:
        return kernel(squared_distances(x, y)).sum(axis=1).sum()
    steps = -(-n // max(max_pairs // m, 1))
    rows = -(-n // steps)
    # Chunks are strided, so that each has rows of every device.
    padded = jnp.pad(x, ((0, rows * steps - n), (0, 0))).reshape(rows, steps, -1)
    counts = (jnp.arange(rows * steps) < n).astype(x.dtype).reshape(rows, steps)

    @jax.checkpoint  # otherwise the backward pass would keep every chunk
    def add(total: jax.Array, chunk: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        part, weight = chunk
        return total + weight @ kernel(squared_distances(part, y)).sum(axis=1), None

    chunks = (jnp.swapaxes(padded, 0, 1), counts.T)
    return jax.lax.scan(add, jnp.zeros((), x.dtype), chunks)[0]


def _bandwidth(kernel: str, bandwidth: str | float | None, dim: int) -> float:
    """h of a kernel between vectors of `dim` dimensions, see `squared_mmd`."""
    h = _DEFAULTS[kernel] if bandwidth is None else bandwidth
    if not isinstance(h, str):
        return h
    if h not in BANDWIDTHS:
        raise ValueError(f"unknown bandwidth of mmd {near_names(h, BANDWIDTHS)}")
    return BANDWIDTHS[h](dim)


def squared_mmd(
    x: jax.Array,
    y: jax.Array,
    *,
    kernel: str = "rbf",
    scales: Sequence[float] = (1.0,),
    bandwidth: str | float | None = None,
    estimator: str = "biased",
    max_pairs: int | None = None,
) -> jax.Array:
    """The squared maximum mean discrepancy of two samples, `[]`: E k(x,x') + E k(y,y') − 2E k(x,y).

    Gretton et al. (JMLR 2012, eq. 3 and 5). The kernel is a sum over s in `scales` of

    - `'rbf'`: exp(−‖x − y‖² / (s·h)), or
    - `'imq'`, inverse multiquadric: s·h / (s·h + ‖x − y‖²).

    Args:
      x: sample of one distribution, `[N, D]`.
      y: sample of the other, `[M, D]`.
      kernel: `'rbf'` or `'imq'`.
      scales: multiples of the bandwidth h, one kernel each.
      bandwidth: h, as a number; or `'squared_dim'`, D² (the default of `'rbf'`, from the code of
        InfoVAE's authors), or `'twice_dim'`, 2D (the default of `'imq'`, from WAE, 1711.01558,
        section 4, for a prior of unit variance).
      estimator: `'biased'`, the V-statistic, which includes pairs of a point with itself and is
        never negative; or `'unbiased'`, the U-statistic, which excludes them and can be negative.
        Minimising the former also minimises (k(0) − E k(x, x')) / N, which pulls a small sample
        together.
      max_pairs: bound of the kernel values held at once; larger samples are compared in chunks.
        None for the backend's default.

    Raises:
      ValueError: an unknown kernel, bandwidth or estimator, no scales, or a single point.
    """
    if kernel not in KERNELS:
        raise ValueError(f"unknown kernel of mmd {near_names(kernel, KERNELS)}")
    if estimator not in MMD_ESTIMATORS:
        raise ValueError(f"unknown estimator of mmd {near_names(estimator, MMD_ESTIMATORS)}")
    if not scales:
        raise ValueError("mmd needs at least one of 'scales'")
    n, m, dim = x.shape[0], y.shape[0], x.shape[1]
    pairs = _max_pairs() if max_pairs is None else max_pairs
    if min(n, m) < 2 and estimator == "unbiased":
        raise ValueError("the unbiased estimator of mmd needs two examples or more")
    h = _bandwidth(kernel, bandwidth, dim)
    widths = [jnp.asarray(s * h, jnp.float32) for s in scales]
    x, y = x.astype(jnp.float32), y.astype(jnp.float32)

    def k(squared: jax.Array) -> jax.Array:
        return sum((KERNELS[kernel](squared, w) for w in widths), jnp.zeros_like(squared))

    def within(a: jax.Array, size: int) -> jax.Array:
        total = _kernel_sum(a, a, k, pairs)
        if estimator == "biased":
            return total / float(size) ** 2  # an int32 would overflow at 65,536 points
        total -= size * len(widths)  # k(a, a) = 1 at each scale
        return total / (float(size) * (size - 1))

    return within(x, n) + within(y, m) - 2.0 * _kernel_sum(x, y, k, pairs) / (float(n) * m)


def mmd(
    kernel: str = "rbf",
    scales: Sequence[float] = (1.0,),
    *,
    bandwidth: str | float | None = None,
    estimator: str = "biased",
    node: int | None = None,
    max_pairs: int | None = None,
) -> LossTransform:
    """`mmd` `[]`: squared MMD between the batch's samples of z and as many from the prior.

    InfoVAE (1706.02262, section 3), WAE-MMD (1711.01558, algorithm 2). The prior is that of the
    node, which may be conditional or a mixture. Each z is flattened. A statistic of the whole
    batch, over all devices.

    Args:
      kernel: see `squared_mmd`, as for all other arguments but `node`.
      scales: of the kernel.
      bandwidth: of the kernel.
      estimator: biased or unbiased.
      node: number of the stochastic node; None for the sum over all.
      max_pairs: bound of memory.

    Raises:
      ValueError: a setting of `squared_mmd` is wrong, or a node holds codes.
    """

    def apply(losses: Losses, params: Params, trace: Trace, key: jax.Array) -> Losses:
        del params
        total = jnp.zeros(())
        for i, z in continuous_z("mmd", trace, node).items():
            sample = trace.latents[i].prior.sample(jax.random.fold_in(key, i))
            if math.prod(sample.shape) != math.prod(trace.latents[i].z.shape):
                raise ValueError(
                    f"the loss 'mmd' needs one sample from the prior for each z, but the prior "
                    f"{type(trace.latents[i].prior).__name__} of node {i} has samples of shape "
                    f"{sample.shape} for z of shape {trace.latents[i].z.shape}; give its "
                    "parameters the batch's shape"
                )
            total += squared_mmd(
                z,
                sample.reshape(z.shape),
                kernel=kernel,
                scales=scales,
                bandwidth=bandwidth,
                estimator=estimator,
                max_pairs=max_pairs,
            )
        return {**losses, "mmd": total}

    return LossTransform(lambda key, trace: {}, apply, ("mmd",))
