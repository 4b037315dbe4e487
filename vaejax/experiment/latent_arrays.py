"""Latents as users have them, checked against the nodes of a model."""

from collections.abc import Mapping, Sequence

import jax
import numpy as np

from vaejax.core.game import Family, Latent, Params
from vaejax.core.rng import key_shape
from vaejax.core.types import PyTree
from vaejax.data.preprocess import Prepare
from vaejax.data.spec import DataSpec

__all__ = ["check_latents", "example_rows", "node_shapes"]


def example_rows(spec: DataSpec, condition: str | None) -> dict[str, np.ndarray]:
    """One example of zeros in stored form: its event, and its condition if there is one."""
    names = (spec.event,) if condition is None else (spec.event, condition)
    return {name: np.zeros((1, *spec.fields[name][0]), spec.fields[name][1]) for name in names}


def node_shapes(
    family: Family, params: Params, prepare: Prepare, rows: Mapping[str, np.ndarray]
) -> tuple[Latent, ...]:
    """The shapes of the nodes of examples in stored form; computes nothing."""

    def encode(params: Params, rows: PyTree, key: jax.Array) -> tuple[Latent, ...]:
        return family.model.encode(params, prepare(rows, key), None)

    nodes: tuple[Latent, ...] = jax.eval_shape(encode, params, rows, key_shape())
    return nodes


def check_latents(nodes: Sequence[Latent], zs: Sequence[np.ndarray], *, codes: bool) -> None:
    """Checks latents `[N, ...]` as a user has them against the nodes of a model.

    Args:
      nodes: of a batch, or their shapes.
      zs: of the first nodes, the top one first.
      codes: whether they are indices of codes.

    Raises:
      ValueError: more latents than nodes, another shape, or codes that do not exist.
    """
    if len(zs) > len(nodes):
        raise ValueError(f"the model has {len(nodes)} stochastic nodes, found {len(zs)} latents")
    for i, (node, z) in enumerate(zip(nodes, zs, strict=False)):
        q: PyTree = node.posterior
        expected = q.indices.shape[1:] if codes else node.z.shape[1:]
        if z.shape[1:] != expected or not len(z):
            raise ValueError(
                f"latents of node {i} have the shape [N, {', '.join(map(str, expected))}], found "
                f"{list(z.shape)}; a model decodes events of the size that it was trained on"
            )
        if codes and (z.min() < -1 or z.max() >= q.size):
            raise ValueError(
                f"codes of node {i} lie in 0..{q.size - 1}, or are -1 for no code; found "
                f"{z.min()}..{z.max()}"
            )
