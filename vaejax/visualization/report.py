"""Which pictures a trained model gives, told from its trace; `plotting` draws them."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.game import Batch, Family, Latent, Params, Trace
from vaejax.data import Source
from vaejax.data.batches import eval_order
from vaejax.data.preprocess import event_shape, preparation
from vaejax.distributions import Categorical, Normal, Uniform, has_closed_form, kl
from vaejax.distributions.point_estimate import best_guess
from vaejax.losses.metrics import code_counts
from vaejax.training.logging import read_records
from vaejax.visualization.conditional import draw_conditional, given_by_examples
from vaejax.visualization.event_renderers import Showing, showing
from vaejax.visualization.ladder_layers import draw_layers, is_ladder
from vaejax.visualization.latent_space import (
    draw_interpolations,
    draw_map,
    examples_means,
    one_vector,
    panels_of,
)
from vaejax.visualization.plots import grids_and_curves
from vaejax.visualization.sequence_prediction import draw_futures
from vaejax.visualization.sparse_factors import draw_factors, weights_of

_EXAMPLES = 512  # that tell which latents matter


def _mean_code(node: Latent) -> jax.Array:
    mean = getattr(node.posterior, "mean", None)
    return node.z if mean is None else mean


def traverse(
    family: Family,
    params: Params,
    node: Latent,
    rows: int = 10,
    values: int = 10,
    given: Batch | None = None,
) -> tuple[jax.Array, list[str]]:
    """Decoder means `[L, S, ...]` where one latent at a time runs over its range, and labels.

    Latents come in the order of their average KL, largest first: to the prior, or where that has
    none for each latent (a mixture), to a Gaussian with the moments of the aggregate posterior. The
    range of each is two standard deviations of the aggregate posterior about its mean; the others
    stay where the first example has them.

    Args:
      family: whose decoder.
      params: of the model.
      node: the only node of the trace of many examples, a vector `[B, D]` of Gaussians or of
        spikes and slabs.
      rows: latents at most.
      values: steps in each row.
      given: a batch whose first example gives the condition; None for none.
    """
    q = node.posterior
    weight = getattr(q, "active", jnp.ones_like(q.loc))  # what is zero anyway has no say
    weight = weight / weight.sum(axis=0)[None]
    centre = (weight * q.loc).sum(axis=0)
    squares = jnp.square(q.loc - centre[None]) + jnp.square(q.scale)
    spread = jnp.sqrt((weight * squares).sum(axis=0))
    prior = node.prior if has_closed_form(q, node.prior) else Normal(centre[None], spread[None])
    nats = kl(q, prior, node.z).mean(axis=0)  # [D]
    order = np.argsort(-np.asarray(nats))[:rows]
    steps = jnp.linspace(-2.0, 2.0, values)
    base = jnp.broadcast_to(q.mean[0][None, None], (len(order), values, q.loc.shape[1]))
    runs = centre[order][:, None] + spread[order][:, None] * steps[None]  # [L, S]
    z = base.at[jnp.arange(len(order)), :, order].set(runs)
    z = z.reshape(-1, z.shape[-1])
    first = given and {k: jnp.repeat(v[:1], len(z), axis=0) for k, v in given.items()}
    p = jax.jit(lambda z: family.model.decode(params, (z,), first).mean)(z)
    labels = [f"z{i}  {float(nats[i]):.2f} nats" for i in order]
    return p.reshape(len(order), values, *p.shape[1:]), labels


def draw_samples(
    family: Family,
    params: Params,
    folder: Path,
    *,
    seed: int,
    count: int,
    temperature: float,
    title: str = "Samples from the prior",
    given: Batch | None = None,
    show: Showing | None = None,
    **sampling: Any,
) -> Path | None:
    """Writes `samples.png`: means of p(x | z) at z ~ prior, under the conditions of `given`.

    Any further settings are for the model's `generate`.

    Returns:
      The file, `samples.txt` if `show` shows events as text; None if there is no way to show them.
    """
    generate = jax.jit(family.model.generate, static_argnums=2)
    p = generate(params, jax.random.key(seed), count, given, jnp.float32(temperature), **sampling)
    if show is None:
        return None
    path = folder / f"samples{show.suffix}"
    show.samples(path, np.asarray(best_guess(p)), title)
    return path


def draw(
    family: Family,
    params: Params,
    source: Source,
    folder: Path,
    *,
    binarize: str,
    seed: int,
    metrics: Path,
    samples: bool = True,
    count: int = 64,
    temperature: float = 1.0,
    **sampling: Any,
) -> None:
    """Writes all pictures that make sense: reconstructions, samples, traversals, codes, curves.

    Of one continuous vector also ways between examples, and a map if there are labels or factors.

    Tokens are shown as text, in `.txt` files. Of a model without latents, which gives p(x) itself,
    there are samples and curves alone.

    Args:
      family: whose model.
      params: of the model.
      source: the evaluation split.
      folder: for the files.
      binarize: as in training.
      seed: of all draws.
      metrics: the run's `metrics.jsonl`.
      samples: whether to draw those, and what else depends on the prior.
      count: samples.
      temperature: of the prior they are drawn from.
      **sampling: further settings of the model's `generate`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    records = read_records(metrics)
    if records:
        grids_and_curves.curves(folder / "losses.png", records)
    if family.model.sequences:
        draw_futures(
            family, params, source, folder, binarize=binarize, seed=seed, temperature=temperature
        )
        return
    prepare, show = preparation(source, binarize), showing(source)
    options: dict[str, Any] = {"seed": seed, "count": count, "temperature": temperature, **sampling}
    some = source.take(np.zeros(1, np.int32))
    if not jax.eval_shape(
        lambda p, rows, k: family.model.encode(p, prepare(rows, k), k),
        params,
        some,
        jax.random.key(0),
    ):
        if samples and family.model.features is None:  # a classifier draws nothing
            given = given_by_examples(family, params, source, count, binarize=binarize, seed=seed)
            draw_samples(family, params, folder, given=given, show=show, **options)
        return

    @jax.jit
    def look(params: Params, rows: Any, key: jax.Array) -> tuple[Trace, jax.Array]:
        data_key, key = jax.random.split(key)
        batch = prepare(rows, data_key)
        trace = family.model.forward(params, batch, key, None)
        draws = trace.x.shape[0] // len(next(iter(batch.values())))  # of each example
        zs = tuple(_mean_code(node)[::draws] for node in trace.latents)
        latents = tuple(
            node._replace(prior=None) if isinstance(node.prior, Categorical) else node
            for node in trace.latents  # a learned prior's logits: large, and of no use here
        )
        trace = trace._replace(x=trace.x[::draws], latents=latents)
        return trace, best_guess(family.model.decode(params, zs, batch))

    # Like the whole split, which may be sorted; themselves in its order.
    indices = np.sort(eval_order(source.size)[:_EXAMPLES])
    trace, means = look(params, source.take(indices), jax.random.key(seed))

    shown = f"{len(indices)} examples"
    usage = {
        f"node {i}{f' slot {s}' if len(counts) > 1 else ''}, {shown}": np.asarray(count)
        for i, counts in code_counts(trace).items()
        for s, count in enumerate(counts[:8])
    }
    if usage:
        grids_and_curves.code_usage(folder / "codes.png", usage)
    weights = weights_of(params)
    if weights is not None:
        draw_factors(folder / "factors.png", weights, source.column_names)
    drawable = grids_and_curves.is_image(event_shape(source))
    if is_ladder(family, trace.latents):
        draw_layers(family, params, trace, folder, seed=seed, images=drawable)
    node = one_vector(trace.latents)
    if node is not None:
        batch = jax.jit(prepare)(source.take(indices), jax.random.split(jax.random.key(seed))[0])
        panels = panels_of(source, batch)
        draw_map(folder / "latents.png", np.asarray(examples_means(trace)), panels)
    if show is None:
        return
    x, means = np.asarray(trace.x), np.asarray(means)
    pick = np.linspace(0, len(x) - 1, min(36, len(x))).astype(int)
    show.reconstructions(folder / f"reconstructions{show.suffix}", x[pick], means[pick])
    if not samples:
        return
    if any(isinstance(node.prior, Uniform) for node in trace.latents):
        options["title"] = "Codes drawn uniformly: what a prior over codes has yet to learn"
    given = given_by_examples(family, params, source, count, binarize=binarize, seed=seed)
    if given is not None:
        options["title"] = "Samples from the prior, under the conditions of held-out examples"
        draw_conditional(
            family, params, source, folder, binarize=binarize, seed=seed, temperature=temperature
        )
    draw_samples(family, params, folder, given=given, show=show, **options)
    if drawable and node is not None:
        images, labels = traverse(family, params, node, given=given)
        grids_and_curves.traversals(folder / "traversals.png", np.asarray(images), labels)
        given = None if given is None else batch  # the examples themselves
        draw_interpolations(family, params, trace, folder / "interpolations.png", given=given)
