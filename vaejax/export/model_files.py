"""A trained model as files that can be used without vaejax: parameters, encoder and decoder.

`params.safetensors` holds the parameters, `encoder.jaxexport` and `decoder.jaxexport` are programs
that need only JAX, and `export.json` lists their inputs and outputs.
"""

from importlib import metadata
from pathlib import Path

import jax
import numpy as np

from vaejax.core.files import to_json, write_files
from vaejax.core.game import Family, Params
from vaejax.core.rng import key_shape
from vaejax.core.types import Options
from vaejax.data import Source
from vaejax.data.preprocess import preparation
from vaejax.export.program import PLATFORMS, Program
from vaejax.export.programs import programs
from vaejax.export.safetensors import need, serialize_params

__all__ = ["check_run", "export"]

_LOAD = """\
import jax.export
read = lambda name: jax.export.deserialize(bytearray(open(name, "rb").read()))
encode, decode = (jax.jit(read(f"{n}.jaxexport").call) for n in ("encoder", "decoder"))
z = encode(*inputs)  # a tuple; any batch size; the inputs listed under "encoder"
x = decode(*z)  # and the further inputs listed under "decoder"
"""


def _version() -> str:
    try:
        return metadata.version("vaejax")
    except metadata.PackageNotFoundError:  # run from a checkout that was never installed
        return "unknown"


def check_run(config: Options) -> None:
    """Checks that the run of a config can be exported, before anything is loaded.

    Raises:
      ImportError: safetensors or flatbuffers is not installed.
      ValueError: the run is a prior learned for another run.
    """
    need("safetensors.numpy")
    need("flatbuffers")
    if first := config.get("first_stage"):
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
    sampler: Program | None = None,
    **about: object,
) -> None:
    """Writes `params.safetensors`, `encoder.jaxexport`, `decoder.jaxexport` and `export.json`.

    Args:
      family: of the model.
      params: of the model.
      source: its training data.
      folder: for the files.
      binarize: as in training; it is not part of the programs.
      sampler: a third program, `sampler.jaxexport`, see `export.sampler`.
      **about: further metadata of the files, such as the family's name and the step.

    Raises:
      ImportError: safetensors or flatbuffers is not installed.
      ValueError: see `programs`.
      WriteError: a file cannot be written; then an earlier export is as it was.
    """
    check_run({})
    prepare, rows = preparation(source, binarize), source.take(np.zeros(1, np.int32))
    batch = jax.eval_shape(prepare, rows, key_shape())
    parts = dict(zip(("encoder", "decoder"), programs(family, params, batch), strict=True))
    if sampler is not None:
        parts["sampler"] = sampler
    about = {**about, "version": _version()}
    files = {"params.safetensors": serialize_params(params, **about)}
    info: dict[str, object] = {**about, "jax": jax.__version__, "platforms": list(PLATFORMS)}
    for name, (exported, inputs, outputs) in parts.items():
        file = f"{name}.jaxexport"
        files[file] = bytes(exported.serialize())
        info[name] = {"file": file, "inputs": inputs, "outputs": outputs}
    files["export.json"] = to_json({**info, "load": _LOAD.splitlines()}).encode()
    write_files(folder, files)
