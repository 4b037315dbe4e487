"""The token layout of a trace or a model: the sequence over which a prior of codes is learned."""

from collections.abc import Sequence
from typing import cast

import jax

from vaejax.core.game import Batch, Family, Latent, Params
from vaejax.core.rng import key_shape
from vaejax.core.token_layout import CodeMap, Layout
from vaejax.distributions import Quantized, capabilities_of, is_quantized

__all__ = ["codes_of_nodes", "layout_of", "layout_of_model"]


def layout_of(latents: Sequence[Latent]) -> Layout:
    """The layout of the codes of a trace, given as arrays or as their shapes.

    The axes `*places` of a node's z `[B, *places, D]` are also the first axes of its indices; any
    further axes of these are trailing.

    Raises:
      ValueError: a node does not hold codes.
    """
    nodes = []
    for i, node in enumerate(latents):
        q = node.posterior
        if not is_quantized(q):
            raise ValueError(
                f"node {i} has a posterior of type {type(q).__name__}, but a prior over codes is "
                "learned from codes; for one Gaussian vector use --config=configs/prior.py:mixture"
            )
        place_axes = node.z.ndim - 2
        shape = q.indices.shape[1:]
        nodes.append(CodeMap(shape[:place_axes], shape[place_axes:], q.size))
    return Layout(tuple(nodes))


def codes_of_nodes(latents: Sequence[Latent]) -> list[jax.Array]:
    """The indices of the codes of each node, `[B, ...]` each, whose layout is `layout_of`."""
    return [cast(Quantized, node.posterior).indices for node in latents]


def layout_of_model(who: str, family: Family, params: Params, batch: Batch) -> Layout | None:
    """The layout of a model's codes, or None for one Gaussian node; evaluates only shapes.

    Args:
      who: names the model in errors.
      family: the family of the model.
      params: of the model, or their shapes.
      batch: to be encoded, or its shapes.

    Raises:
      ValueError: the nodes hold neither codes nor one Gaussian vector or map, or the model is
        conditional.
    """
    trace = jax.eval_shape(
        lambda p, b, key: family.model.forward(p, b, key, None), params, batch, key_shape()
    )
    if trace.condition is not None:
        raise ValueError(
            f"{who} is a conditional model, whose decoder needs a condition besides z; "
            "use a model without a condition"
        )
    nodes: tuple[Latent, ...] = trace.latents
    if len(nodes) == 1 and capabilities_of(nodes[0].posterior).euclidean:
        return None
    if nodes and all(is_quantized(node.posterior) for node in nodes):
        if family.model.embed is None:
            raise ValueError(f"{who}: its model cannot embed indices")
        return layout_of(nodes)
    kinds = [f"{type(n.posterior).__name__} {n.z.shape[1:]}" for n in nodes]
    raise ValueError(
        f"{who}: a prior is learned for codes, or for one Gaussian vector or map; its model "
        f"has the nodes {kinds}"
    )
