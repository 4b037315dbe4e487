"""Folders of a checkpoint: `config.json`, and tensors in safetensors files, one or several."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vaejax.core.files import read_json, to_json, write_files
from vaejax.core.paths import local_copies
from vaejax.core.types import Json, Options, Untyped
from vaejax.export.safetensors import need

__all__ = ["Tensors", "read_config", "read_tensors", "write_folder"]

Tensors = dict[str, np.ndarray]
_EXTRA = "interop"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def read_config(folder: Path) -> Options:
    """The content of `config.json`.

    Raises:
      FileNotFoundError: there is no such folder or file.
      ValueError: the file is damaged.
    """
    path = folder / "config.json"
    if path.is_file():
        return read_json(path)
    if (folder / "vae" / "config.json").is_file():
        raise FileNotFoundError(f"{folder} is a pipeline: name its autoencoder, {folder / 'vae'}")
    raise FileNotFoundError(f"{folder} has no config.json: name the folder of a checkpoint")


def read_tensors(folder: Path, stem: str) -> Tensors:
    """The tensors of a checkpoint by name, those of floating dtypes as float32.

    Args:
      folder: of the checkpoint.
      stem: name of its file without `.safetensors`. Several files are listed by an index,
        `STEM.safetensors.index.json`; `STEM.fp16.safetensors` is read where there is no other.

    Raises:
      FileNotFoundError: there is none, or one that the index lists is missing.
      ValueError: a file is damaged.
      ImportError: safetensors is not installed.
    """
    index = folder / f"{stem}.safetensors.index.json"
    if index.is_file():
        files = [folder / name for name in sorted(set(read_json(index)["weight_map"].values()))]
    else:
        names = (f"{stem}.safetensors", f"{stem}.fp16.safetensors", f"{stem}.bf16.safetensors")
        files = [folder / name for name in names if (folder / name).is_file()][:1]
    if not files:
        raise FileNotFoundError(_without_tensors(folder, stem))
    tensors: Tensors = {}
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(f"{index} lists {file.name}, which is missing: download it too")
        tensors |= _read(file)
    return tensors


def _read(file: Path) -> Tensors:
    tensors, safetensors = {}, need("safetensors", _EXTRA)
    try:
        with (
            local_copies([file]) as (copy,),
            safetensors.safe_open(str(copy), framework="numpy") as opened,
        ):
            for name in opened.keys():  # noqa: SIM118
                tensors[name] = _float32(opened.get_tensor(name))
    except (OSError, safetensors.SafetensorError) as error:
        line = str(error).splitlines()[0]
        raise ValueError(f"{file} is not a complete safetensors file: {line}") from error
    return tensors


def _float32(array: Untyped) -> np.ndarray:
    """Also of bfloat16, which is no floating dtype for NumPy."""
    return array if array.dtype.kind in "iub" else np.asarray(array).astype(np.float32)


def _without_tensors(folder: Path, stem: str) -> str:
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    if pickles:
        return (
            f"{folder} holds its tensors as a pickle, {pickles[0]}, which is not read since it can "
            "run code: save it with safe_serialization=True, or download its safetensors file"
        )
    return f"{folder} has no {stem}.safetensors: download it too"


def write_folder(
    folder: Path, config: Mapping[str, Json], tensors: Tensors, stem: str
) -> tuple[Path, Path]:
    """Writes `config.json` and `STEM.safetensors`; both or neither.

    Raises:
      ImportError: safetensors is not installed.
      WriteError: a file cannot be written.
    """
    numpy = need("safetensors.numpy", _EXTRA)
    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    content = numpy.save(arrays, metadata={"format": "pt"})  # which transformers asks for
    names = ("config.json", f"{stem}.safetensors")
    write_files(
        folder, {names[0]: to_json(json.loads(json.dumps(config))).encode(), names[1]: content}
    )
    return folder / names[0], folder / names[1]
