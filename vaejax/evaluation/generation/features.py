"""What images are judged by: features of a classifier, of Inception, or of any exported program."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export

from vaejax.core.events import event
from vaejax.core.game import Family
from vaejax.core.sharding import make_mesh
from vaejax.data import Source
from vaejax.evaluation.generation.inception import inception_features, read_weights
from vaejax.export.safetensors import need
from vaejax.training.restore import open_run
from vaejax.training.train_step import eval_params

# Images `[B, H, W, C]` in [0, 1] -> features `[B, F]`. Any function of this kind will do.
Features = Callable[[jax.Array], jax.Array]

PROGRAM, WEIGHTS = ".jaxexport", (".npz", ".safetensors")


def load_features(
    asked: str,
    shape: Sequence[int],
    *,
    build: Callable[..., Family],
    load_split: Callable[[Mapping[str, Any], str], Source],
) -> Features:
    """The features that `evaluate.features` names, tried on shapes.

    Args:
      asked: the `--workdir` of a trained `configs/classifier.py`; or a file: `.jaxexport`, a
        program of `jax.export` from images float32 `[b, H, W, C]` to features, b free; `.npz` or
        `.safetensors`, weights of Inception v3 (see `networks.inception`).
      shape: of one image, (H, W, C).
      build: `(config, shape, facts) -> family`.
      load_split: `(config, split) -> its data`.

    Raises:
      FileNotFoundError: there is neither such a run nor such a file.
      ValueError: the run is of no classifier, the file holds something else, or images of this
        shape do not fit.
      ImportError: a package that reads the file is missing.
    """
    path = Path(asked)
    if path.is_dir():
        features = _of_run(path, shape, build, load_split)
    elif path.suffix not in (PROGRAM, *WEIGHTS):
        raise ValueError(
            f"evaluate.features={asked} is neither the --workdir of a classifier nor a file that "
            f"ends in {', '.join((PROGRAM, *WEIGHTS))}"
        )
    elif not path.is_file():
        raise FileNotFoundError(f"evaluate.features: no file {asked}")
    elif path.suffix == PROGRAM:
        features = _of_program(path)
    else:
        features = inception_features(read_weights(path))
    try:
        out = jax.eval_shape(features, jax.ShapeDtypeStruct((2, *shape), jnp.float32))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"evaluate.features={asked} does not take images {tuple(shape)}: {error}"
        ) from error
    if getattr(out, "ndim", 0) != 2 or len(out) != 2:
        raise ValueError(
            f"evaluate.features={asked} should give features [B, F] of images, but gives "
            f"{getattr(out, 'shape', type(out).__name__)} of two"
        )
    return features


def _of_run(
    path: Path,
    shape: Sequence[int],
    build: Callable[..., Family],
    load_split: Callable[[Mapping[str, Any], str], Source],
) -> Features:
    found = open_run(path, make_mesh(1), "evaluate.features", build=build, load_split=load_split)
    see = found.family.model.features
    if see is None:
        raise ValueError(
            f"{found.name} is a run of {found.config['family']!r}: features are those of a "
            "classifier, see configs/classifier.py"
        )
    own = event(found.batch).shape[1:]
    if own != tuple(shape):
        raise ValueError(f"{found.name} learned from images {own}, these are {tuple(shape)}")
    params = jax.tree.map(np.asarray, eval_params(found.restore(0)))  # on no device

    def features(images: jax.Array) -> jax.Array:
        return see(jax.tree.map(jnp.asarray, params), images)

    return features


def _of_program(path: Path) -> Features:
    need("flatbuffers")
    try:
        program = jax_export.deserialize(bytearray(path.read_bytes()))
    except Exception as error:  # whatever the bytes lead it to
        raise ValueError(f"evaluate.features: {path} is no program of jax.export") from error
    return lambda images: program.call(images)
