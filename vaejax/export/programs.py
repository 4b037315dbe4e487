"""A trained model as files that need no vaejax: parameters, encoder and decoder.

`params.safetensors` holds the parameters, `encoder.jaxexport` and `decoder.jaxexport` are programs
that run with JAX alone, and `export.json` says what goes in and what comes out.
"""

from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export

from vaejax.core.events import EVENTS
from vaejax.core.game import Batch, Family, Latent, Params
from vaejax.data import Source
from vaejax.data.preprocess import preparation
from vaejax.distributions import Categorical, Codes
from vaejax.distributions.point_estimate import best_guess
from vaejax.export.safetensors import need, save_params
from vaejax.training.logging import write_json

PLATFORMS = ("cpu", "cuda", "tpu")
_INFLEXIBLE = (
    ValueError,
    TypeError,
    NotImplementedError,
    jax.errors.InconclusiveDimensionOperation,
)
LOAD = """\
import jax.export
read = lambda name: jax.export.deserialize(bytearray(open(name, "rb").read()))
encode, decode = (jax.jit(read(f"{n}.jaxexport").call) for n in ("encoder", "decoder"))
z = encode(*inputs)  # a tuple; any batch size; inputs as listed under "encoder"
x = decode(*z)  # followed by what else is listed under "decoder"
"""


class Program(NamedTuple):
    """A function `(*inputs) -> outputs` with its parameters in it.

    Attributes:
      exported: with the batch size as the variable b.
      inputs: name, shape and dtype of each; the batch size is `'b'`.
      outputs: the same, and what each is.
    """

    exported: jax_export.Exported
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]


def _told(node: Latent, codes: bool) -> jax.Array:
    """What is exported of a node: the mean, or the indices of codes."""
    if codes and isinstance(node.posterior, Codes):
        return node.posterior.indices
    return best_guess(node.posterior) if codes else node.posterior.mean


def _kind(node: Latent, codes: bool) -> str:
    """The same in words, of a node of shapes."""
    if codes and isinstance(node.posterior, Codes):
        return f"indices of the nearest codes, of {node.posterior.size}"
    if codes:
        return f"indices of the likeliest codes, of {node.posterior.logits.shape[-1]}"
    return "mean of the posterior"


def _reads(function: Callable[..., Any], batch: Mapping[str, Any]) -> list[str]:
    """The fields of a batch that the outputs depend on, by way of what is computed."""
    closed = jax.make_jaxpr(function)(batch)
    needed = {id(v) for v in closed.jaxpr.outvars}
    for equation in reversed(closed.jaxpr.eqns):
        if any(id(v) in needed for v in equation.outvars):
            needed |= {id(v) for v in equation.invars}
    names = sorted(batch)  # the order in which JAX takes dicts apart
    return [n for n, v in zip(names, closed.jaxpr.invars, strict=True) if id(v) in needed]


def _facts(name: str, of: Any) -> dict[str, Any]:
    return {"name": name, "shape": ["b", *of.shape[1:]], "dtype": str(of.dtype)}


def _exported(what: str, function: Callable[..., Any], specs: list[Any]) -> jax_export.Exported:
    try:
        return jax_export.export(jax.jit(function), platforms=PLATFORMS)(*specs)
    except _INFLEXIBLE as error:
        raise ValueError(f"the {what} does not export with a free batch size: {error}") from error


def programs(family: Family, params: Params, batch: Batch) -> tuple[Program, Program]:
    """Encoder and decoder of a model, for CPU, CUDA and TPU, with the batch size left open.

    The encoder takes an event `[b, *shape]`, prepared as in training, and gives of each node the
    posterior mean, or the indices where nodes hold codes. The decoder takes these, in this order,
    and gives the mean of p(x | z), or where x are tokens the likeliest. Either takes beside what
    else of the batch it depends on, such as `label`. Nothing is drawn. Of a masked event the
    whole is decoded.

    The parameters are part of the programs: a file is complete by itself, and cannot be run with
    the parameters of another model.

    Args:
      family: whose model.
      params: of it.
      batch: one as the model is given them, of arrays or of shapes.

    Raises:
      ValueError: the model has no encoder and decoder in this sense, or cannot be exported.
    """
    model = family.model
    if model.sequences:
        raise ValueError(
            "a model of sequences has no encoder and decoder of single events: what it does is "
            "`model.sequences`; its parameters can be written with vaejax.params_file.save_params"
        )
    (size,) = jax_export.symbolic_shape("b")
    free = {k: jax.ShapeDtypeStruct((size, *v.shape[1:]), v.dtype) for k, v in batch.items()}
    one = {k: jax.ShapeDtypeStruct((1, *v.shape[1:]), v.dtype) for k, v in batch.items()}
    one.pop("mask", None)  # what is given is decoded like the rest
    event = next(name for name in EVENTS if name in batch)
    params = jax.tree.map(np.asarray, params)  # on no device
    nodes = jax.eval_shape(lambda p, b: model.encode(p, b, None), params, one)
    if not nodes:
        raise ValueError(
            "a model without latents has nothing to encode or decode; its parameters can be "
            "written with vaejax.params_file.save_params"
        )
    kinds = (Codes, Categorical)
    codes = model.embed is not None and all(isinstance(node.posterior, kinds) for node in nodes)

    def encode(batch: Batch) -> tuple[jax.Array, ...]:
        nodes = model.encode(jax.tree.map(jnp.asarray, params), batch, None)
        return tuple(_told(node, codes) for node in nodes)

    def decode(zs: tuple[jax.Array, ...], batch: Batch) -> jax.Array:
        own = jax.tree.map(jnp.asarray, params)
        if codes:
            assert model.embed is not None
            zs = model.embed(own, zs)
        return best_guess(model.decode(own, zs, batch))

    def filled(names: list[str], values: tuple[jax.Array, ...], n: Any) -> Batch:
        """A batch of these fields, with zeros for those that have no say."""
        told = dict(zip(names, values, strict=True))
        rest = [k for k in one if k not in told]
        return told | {k: jnp.zeros((n, *one[k].shape[1:]), one[k].dtype) for k in rest}

    seen = sorted({event, *_reads(encode, one)}, key=lambda name: (name != event, name))
    encoder = _exported(
        "encoder",
        lambda *values: encode(filled(seen, values, values[0].shape[0])),
        [free[k] for k in seen],
    )
    names = [f"z{i}" for i in range(len(nodes))]
    zs = encoder.out_avals
    first = tuple(jnp.zeros((1, *z.shape[1:]), z.dtype) for z in zs)
    given = _reads(lambda batch: decode(first, batch), one)
    decoder = _exported(
        "decoder",
        lambda *values: decode(
            values[: len(zs)], filled(given, values[len(zs) :], values[0].shape[0])
        ),
        [*zs, *(free[k] for k in given)],
    )
    (x,) = decoder.out_avals
    guess = "likeliest x" if jnp.issubdtype(x.dtype, jnp.integer) else "mean"
    told = [
        _facts(k, z) | {"is": _kind(n, codes)} for k, z, n in zip(names, zs, nodes, strict=True)
    ]
    return (
        Program(encoder, [_facts(k, free[k]) for k in seen], told),
        Program(
            decoder,
            [*map(_facts, names, zs), *(_facts(k, free[k]) for k in given)],
            [_facts(event, x) | {"is": f"{guess} of p(x | z)"}],
        ),
    )


def _version() -> str:
    try:
        return metadata.version("vaejax")
    except metadata.PackageNotFoundError:  # run from a checkout that was never installed
        return "unknown"


def check_run(config: Mapping[str, Any]) -> None:
    """Sees, before anything is loaded, that the run of a config can be exported.

    Raises:
      ImportError: safetensors or flatbuffers is not installed.
      ValueError: it is a prior learned for another run.
    """
    need("safetensors.numpy")
    need("flatbuffers")
    if first := config.get("prior_of"):
        raise ValueError(
            f"a prior learned for the run {first} has no encoder and decoder of its own: export "
            "that run, with its config and --workdir"
        )


def export(
    family: Family,
    params: Params,
    source: Source,
    folder: Path,
    /,
    *,
    binarize: str = "none",
    **about: Any,
) -> None:
    """Writes `params.safetensors`, `encoder.jaxexport`, `decoder.jaxexport` and `export.json`.

    Args:
      family: whose model.
      params: of it.
      source: of the data it was trained on.
      folder: for the files.
      binarize: as in training; it is no part of the programs.
      **about: what else the files shall say of themselves: the family's name, the step.

    Raises:
      ImportError: safetensors or flatbuffers is not installed.
      ValueError: as `programs` does.
    """
    check_run({})
    prepare, rows = preparation(source, binarize), source.take(np.zeros(1, np.int32))
    batch = jax.eval_shape(prepare, rows, jax.random.key(0))
    both = dict(zip(("encoder", "decoder"), programs(family, params, batch), strict=True))
    about = {**about, "version": _version()}
    folder.mkdir(parents=True, exist_ok=True)
    save_params(folder / "params.safetensors", params, **about)
    facts: dict[str, Any] = {**about, "jax": jax.__version__, "platforms": list(PLATFORMS)}
    for name, (exported, inputs, outputs) in both.items():
        file = f"{name}.jaxexport"
        (folder / file).write_bytes(exported.serialize())
        facts[name] = {"file": file, "inputs": inputs, "outputs": outputs}
    write_json(folder / "export.json", {**facts, "load": LOAD.splitlines()})
