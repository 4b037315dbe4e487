"""Encoder and decoder of a trained model as programs that need only JAX."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export

from vaejax.core.dependencies import fields_read
from vaejax.core.events import EVENTS
from vaejax.core.game import Batch, Family, Latent, Params
from vaejax.core.types import PyTree
from vaejax.distributions import is_discrete, is_quantized
from vaejax.distributions.point_estimate import point_estimate
from vaejax.export.program import Program, describe, export_program

__all__ = ["programs"]


def programs(family: Family, params: Params, batch: Batch) -> tuple[Program, Program]:
    """Encoder and decoder of a model, for CPU, CUDA and TPU, with a symbolic batch size.

    The encoder maps an event `[b, *shape]`, prepared as in training, to the z of each node without
    sampling (the posterior mean, projected to the support of the posterior where that is smaller),
    or to indices for nodes of codes. The decoder maps these to the mean of p(x | z), or for
    tokens to the likeliest x. Both have the further fields of the batch that they depend on, such
    as `label`, as additional inputs. Neither is stochastic. Of a masked event all pixels are
    decoded.

    The parameters are embedded in the programs.

    Args:
      family: of the model.
      params: of the model.
      batch: a prepared batch, of arrays or of shapes.

    Raises:
      ValueError: the model has no encoder and decoder of single events, or cannot be exported.
    """
    model = family.model
    if model.sequences:
        raise ValueError(
            "a model of sequences has no encoder and decoder of single events; its parameters can "
            "be written with vaejax.export.safetensors.save_params"
        )
    event = next(name for name in EVENTS if name in batch)
    (size,) = jax_export.symbolic_shape("b")
    symbolic = {k: jax.ShapeDtypeStruct((size, *v.shape[1:]), v.dtype) for k, v in batch.items()}
    single = {k: jax.ShapeDtypeStruct((1, *v.shape[1:]), v.dtype) for k, v in batch.items()}
    single.pop("hidden", None)  # so that observed pixels are decoded too
    params = jax.tree.map(np.asarray, params)  # on no device
    nodes = jax.eval_shape(lambda p, b: model.encode(p, b, None), params, single)
    if not nodes:
        raise ValueError(
            "a model without latents has nothing to encode or decode; its parameters can be "
            "written with vaejax.export.safetensors.save_params"
        )
    codes = model.embed is not None and all(is_discrete(node.posterior) for node in nodes)

    def encode(batch: Batch) -> tuple[jax.Array, ...]:
        nodes = model.encode(jax.tree.map(jnp.asarray, params), batch, None)
        return tuple(_export_latent(node, codes) for node in nodes)

    def decode(zs: tuple[jax.Array, ...], batch: Batch) -> jax.Array:
        constants = jax.tree.map(jnp.asarray, params)
        if codes:
            assert model.embed is not None
            zs = model.embed(constants, zs)
        return point_estimate(model.decode(constants, zs, batch))

    meanings = [_meaning(node, codes) for node in nodes]
    encoder = _encoder_program(encode, event, symbolic, single, meanings)
    return encoder, _decoder_program(decode, event, symbolic, single, encoder)


def _export_latent(node: Latent, codes: bool) -> jax.Array:
    """The exported value of a node encoded without a key: its z, or the indices of codes."""
    if codes and is_quantized(node.posterior):
        return node.posterior.indices
    return point_estimate(node.posterior) if codes else node.z


def _meaning(node: Latent, codes: bool) -> str:
    """Describes `_export_latent`."""
    if codes and is_quantized(node.posterior):
        return f"indices of the nearest codes, of {node.posterior.size}"
    if codes and is_discrete(node.posterior):
        return f"indices of the likeliest codes, of {node.posterior.size}"
    if hasattr(node.posterior, "project"):  # the mean lies outside of the posterior's support
        return "mean of the posterior, projected to its support"
    return "mean of the posterior"


def _encoder_program(
    encode: Callable[[Batch], tuple[jax.Array, ...]],
    event: str,
    symbolic: PyTree,
    single: PyTree,
    meanings: list[str],
) -> Program:
    """The exported encoder.

    Args:
      encode: from a batch to the exported values of the nodes.
      event: name of the event in the batch; the first input.
      symbolic: shapes of a batch of b examples.
      single: shapes of a batch of one example.
      meanings: of the outputs.
    """
    names = sorted({event, *fields_read(encode, single)}, key=lambda name: (name != event, name))
    specs = [symbolic[name] for name in names]
    exported = export_program(
        "encoder", lambda *values: encode(_fill(single, names, values)), specs
    )
    outputs = [
        describe(f"z{i}", z) | {"is": meaning}
        for i, (z, meaning) in enumerate(zip(exported.out_avals, meanings, strict=True))
    ]
    return Program(exported, list(map(describe, names, specs)), outputs)


def _decoder_program(
    decode: Callable[[PyTree, Batch], jax.Array],
    event: str,
    symbolic: PyTree,
    single: PyTree,
    encoder: Program,
) -> Program:
    """The exported decoder; its first inputs are the outputs of the encoder.

    Args:
      decode: from the exported values of the nodes and a batch to an event.
      event: name of the event.
      symbolic: shapes of a batch of b examples.
      single: shapes of a batch of one example.
      encoder: the exported encoder.
    """
    zs = encoder.exported.out_avals
    zeros = tuple(jnp.zeros((1, *z.shape[1:]), z.dtype) for z in zs)
    names = fields_read(lambda batch: decode(zeros, batch), single)
    specs = [*zs, *(symbolic[name] for name in names)]

    def decode_values(*values: jax.Array) -> jax.Array:
        fields = _fill(single, names, values[len(zs) :], values[0].shape[0])
        return decode(values[: len(zs)], fields)

    exported = export_program("decoder", decode_values, specs)
    (x,) = exported.out_avals
    estimate = "likeliest x" if jnp.issubdtype(x.dtype, jnp.integer) else "mean"
    inputs = [*(str(z["name"]) for z in encoder.outputs), *names]
    return Program(
        exported,
        list(map(describe, inputs, specs)),
        [describe(event, x) | {"is": f"{estimate} of p(x | z)"}],
    )


def _fill(
    single: PyTree, names: list[str], values: tuple[jax.Array, ...], n: PyTree = None
) -> Batch:
    """A batch of n examples with these fields, and zeros in the fields that are never read."""
    n = values[0].shape[0] if n is None else n
    batch = dict(zip(names, values, strict=True))
    for k, spec in single.items():
        if k not in batch:
            batch[k] = jnp.zeros((n, *spec.shape[1:]), spec.dtype)
    return batch
