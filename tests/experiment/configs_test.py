"""Every config and every setting of it: all of a run but the training, on data of its shape."""

import ast
import importlib
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaejax.data import load
from vaejax.data.readers.npz import from_arrays
from vaejax.experiment import build as build_module
from vaejax.experiment import run as run_module
from vaejax.experiment.run import run
from vaejax.experiment.workdir import flatten

FOLDER = Path(__file__).parents[2] / "configs"
FILES = sorted(file.stem for file in FOLDER.glob("[a-z]*.py"))
SHAPES = {  # of one example, and number of classes, of the datasets that configs name
    "sprites": ((64, 64, 1), 3),
    "tfds:mnist": ((28, 28, 1), 10),
    "tfds:binarized_mnist": ((28, 28, 1), 0),
    "tfds:fashion_mnist": ((28, 28, 1), 10),
    "tfds:cifar10": ((32, 32, 3), 10),
    "npz:PATH": ((50,), 0),
    "csv:PATH": ((50,), 3),
    "h5ad:PATH": ((50,), 0),
    "moving_mnist": ((20, 28, 28, 1), 10),
    "synthetic:speech": ((4096, 1), 0),
}


def settings_of(file):
    """What comes first in the columns of the docstring, as `mnist` in `mnist   MNIST from ...`."""
    docstring = ast.get_docstring(ast.parse((FOLDER / f"{file}.py").read_text())) or ""
    return re.findall(r"^(\w+)  +\S", docstring, flags=re.MULTILINE)


def config_of(file, *setting):
    return importlib.import_module(f"configs.{file}").get_config(*setting)


CASES = [(file, setting) for file in FILES for setting in settings_of(file)]
# The default setting of each file; the others with the slow tests.
TRACED = [
    pytest.param(file, setting, marks=[pytest.mark.slow] if setting != settings_of(file)[0] else [])
    for file, setting in CASES
]


def test_there_are_configs():
    assert {"beta_vae", "vqvae"} <= set(FILES)
    assert len(CASES) > len(FILES)


@pytest.mark.parametrize("file", FILES)
def test_docstring_names_exactly_the_settings(file):
    with pytest.raises(ValueError, match="known: ") as caught:
        config_of(file, "no such setting")
    known = re.search(r"known: ([^)]*)", str(caught.value)).group(1).split(", ")
    assert sorted(settings_of(file)) == known
    default = config_of(file).to_dict()
    assert default == config_of(file, settings_of(file)[0]).to_dict()  # the first is the default
    assert not default["data"]["source"].startswith(("tfds:", "folder:", "npz:"))  # no download


@pytest.mark.parametrize("file", FILES)
def test_unknown_setting_has_near_names(file):
    known = settings_of(file)[0]
    with pytest.raises(ValueError, match=rf"configs/{file}\.py .*did you mean .*'{known}'"):
        config_of(file, known + "x")


def fake_load(source, split, *, image_size, channels, **options):
    """Zeros in the shape of the dataset, in place of reading it; small ones are the real ones."""
    made_here = ("bouncing_balls", "moving_sprites", "oscillator")
    if source not in SHAPES and (source.startswith("synthetic:") or source in made_here):
        return load(source, split, **options)
    shape, classes = SHAPES["sprites" if source.startswith("sprites") else source]
    kind = {1: "vector", 2: "signal", 3: "image", 4: "sequence"}[len(shape)]
    arrays = {kind: np.zeros((260, *shape), np.uint8)}
    if classes:
        arrays["label"] = np.arange(260) % classes
    split = "eval" if split == "validation" else split
    return from_arrays(arrays, split, image_size=image_size, channels=channels)


def fake_resolve(source, setting, options):
    """No validation split unless one is named."""
    return "none" if setting == "auto" else setting


class AboutToTrainError(Exception):
    """In place of training."""


@pytest.mark.parametrize(("file", "setting"), TRACED)
def test_everything_up_to_training(file, setting, monkeypatch, tmp_path):
    reached = {}

    def fit(trainer, settings, **options):
        reached.update(trainer=trainer, settings=settings, **options)
        raise AboutToTrainError

    monkeypatch.setattr(build_module, "load", fake_load)
    monkeypatch.setattr(build_module, "resolve_validation", fake_resolve)
    monkeypatch.setattr(run_module, "fit", fit)
    config = config_of(file, setting).to_dict() | {"mesh": {"data": 1, "fsdp": 1}}
    assert all(value is not None for value in flatten(config).values())  # can be set by flags
    with pytest.raises(AboutToTrainError):
        run(config, tmp_path / "run")  # abstract initialisation passes all checks of the game
    state = reached["trainer"].state_shape
    assert state.params
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(state.params))
    assert reached["settings"].steps == config["train"]["steps"]
    assert (tmp_path / "run" / "config.json").exists()
