"""Which pictures a trained model gives, told from its trace; `plotting` draws them."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaejax import plotting
from vaejax.data import Source
from vaejax.data.preparation import event_shape, preparation
from vaejax.distributions import Normal, kl
from vaejax.figures import code_counts
from vaejax.game import Family, Latent, Params, Trace
from vaejax.training.logs import read_records

_EXAMPLES = 512  # that tell which latents matter


def _mean_code(node: Latent) -> jax.Array:
    mean = getattr(node.posterior, "mean", None)
    return node.z if mean is None else mean


def traverse(
    family: Family, params: Params, node: Latent, rows: int = 10, values: int = 10
) -> tuple[jax.Array, list[str]]:
    """Decoder means `[L, S, ...]` where one latent at a time runs over its range, and labels.

    Latents come in the order of their average KL, largest first. The range of each is two
    standard deviations of the aggregate posterior about its mean; the others stay where the first
    example has them.

    Args:
      family: whose decoder.
      params: of the model.
      node: the only node of the trace of many examples, a Gaussian vector `[B, D]`.
      rows: latents at most.
      values: steps in each row.
    """
    q = node.posterior
    nats = kl(q, node.prior, node.z).mean(axis=0)  # [D]
    order = np.argsort(-np.asarray(nats))[:rows]
    centre = q.loc.mean(axis=0)
    spread = jnp.sqrt(q.loc.var(axis=0) + jnp.square(q.scale).mean(axis=0))
    steps = jnp.linspace(-2.0, 2.0, values)
    base = jnp.broadcast_to(q.loc[0][None, None], (len(order), values, q.loc.shape[1]))
    runs = centre[order][:, None] + spread[order][:, None] * steps[None]  # [L, S]
    z = base.at[jnp.arange(len(order)), :, order].set(runs)
    p = jax.jit(lambda z: family.model.decode(params, (z,), None).mean)(z.reshape(-1, z.shape[-1]))
    labels = [f"z{i}  {float(nats[i]):.2f} nats" for i in order]
    return p.reshape(len(order), values, *p.shape[1:]), labels


def draw_samples(
    family: Family, params: Params, folder: Path, *, seed: int, count: int, temperature: float
) -> None:
    """Writes `samples.png`: means of p(x | z) at z ~ prior."""
    generate = jax.jit(family.model.generate, static_argnums=2)
    p = generate(params, jax.random.key(seed), count, None, jnp.float32(temperature))
    images = np.asarray(p.mean)
    if plotting.is_image(images.shape[1:]):
        plotting.samples(folder / "samples.png", images)


def draw(
    family: Family,
    params: Params,
    source: Source,
    folder: Path,
    *,
    binarize: str,
    seed: int,
    metrics: Path,
    count: int = 64,
    temperature: float = 1.0,
) -> None:
    """Writes all pictures that make sense: reconstructions, samples, traversals, codes, curves.

    Args:
      family: whose model.
      params: of the model.
      source: the evaluation split.
      folder: for the PNG files.
      binarize: as in training.
      seed: of all draws.
      metrics: the run's `metrics.jsonl`.
      count: samples.
      temperature: of the prior they are drawn from.
    """
    folder.mkdir(parents=True, exist_ok=True)
    records = read_records(metrics)
    if records:
        plotting.curves(folder / "losses.png", records)
    prepare = preparation(source, binarize)

    @jax.jit
    def look(params: Params, rows: Any, key: jax.Array) -> tuple[Trace, jax.Array]:
        data_key, key = jax.random.split(key)
        batch = prepare(rows, data_key)
        trace = family.model.forward(params, batch, key, jnp.zeros((), jnp.int32))
        zs = tuple(_mean_code(node) for node in trace.latents)
        return trace, family.model.decode(params, zs, batch).mean

    # Spread over the split, whose order may be by class.
    indices = np.linspace(0, source.size - 1, min(_EXAMPLES, source.size)).astype(np.int32)
    trace, means = look(params, source.take(indices), jax.random.key(seed))

    usage = {f"node {i}": np.asarray(c) for i, c in code_counts(trace).items()}
    if usage:
        plotting.code_usage(folder / "codes.png", usage)
    if not plotting.is_image(event_shape(source)):
        return
    x, means = np.asarray(trace.x), np.asarray(means)
    pick = np.linspace(0, len(x) - 1, min(36, len(x))).astype(int)
    plotting.reconstructions(folder / "reconstructions.png", x[pick], means[pick])
    draw_samples(family, params, folder, seed=seed, count=count, temperature=temperature)
    node = trace.latents[0]
    if len(trace.latents) == 1 and isinstance(node.posterior, Normal) and node.z.ndim == 2:
        images, labels = traverse(family, params, node)
        plotting.traversals(folder / "traversals.png", np.asarray(images), labels)
