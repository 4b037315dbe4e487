"""The features of the perceptual loss from a classifier's run, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.experiment.configs_test import config_of
from vaejax.experiment.build import build
from vaejax.experiment.run import run
from vaejax.training.restore import read_config


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """The working directory of a classifier after two steps."""
    workdir = tmp_path_factory.mktemp("classifier")
    config = config_of("classifier", "sprites").to_dict()
    config["model"]["network"] = {
        "kind": "conv",
        "channels": (2, 3),
        "kernels": (4, 4),
        "hidden": 4,
    }
    config["data"] |= {"image_size": 16}
    config["train"] |= {"steps": 2, "batch_size": 8, "eval_examples": 8, "checkpoint_every": 2}
    config["evaluate"] |= {"figures": False}
    run(config | {"mesh": {"data": 1, "fsdp": 1}}, workdir)
    return workdir


def with_features(place):
    config = config_of("vqgan", "fsq").to_dict()
    config["model"]["perceptual"] = {"features": str(place)}
    return config


@pytest.mark.slow
def test_the_activations_of_a_classifiers_convolutions_are_the_features(classifier):
    family = build(with_features(classifier), (16, 16, 1))
    own = build(read_config(classifier), (16, 16, 1), {"classes": 3})
    params = own.model.init(jax.random.key(0), {"image": jnp.zeros((1, 16, 16, 1))})
    maps = own.model.feature_maps(params, jnp.ones((1, 16, 16, 1)))
    assert [m.shape for m in maps] == [(1, 8, 8, 2), (1, 4, 4, 3)]
    kernel, bias = (np.asarray(params["encoder"]["Conv_0"][k]) for k in ("kernel", "bias"))
    want = np.maximum(kernel.sum(axis=(0, 1, 2)) + bias, 0)  # of ones, away from the border
    np.testing.assert_allclose(maps[0][0, 4, 4], want, rtol=1e-5, atol=1e-6)
    assert "perceptual" in jax.eval_shape(lambda key: losses_of(family, key), jax.random.key(0))


def losses_of(family, key):
    from vaejax.core import game

    batch = {"image": jnp.zeros((2, 16, 16, 1))}
    params = game.init(family, key, batch)
    return game.losses_and_trace(family)(params, batch, key, jnp.int32(0))[0]


def test_features_that_cannot_be_used_are_refused_in_one_line(classifier, tmp_path):
    with pytest.raises(FileNotFoundError, match="neither the --workdir of a classifier nor a file"):
        build(with_features(tmp_path / "none"), (16, 16, 1))
    with pytest.raises(ValueError, match="images of 1 channels, these have 3"):
        build(with_features(classifier), (16, 16, 3))
    np.savez(tmp_path / "some.npz", a=np.ones(2))
    with pytest.raises(ValueError, match=r"lack the layers features\.0\.weight"):
        build(with_features(tmp_path / "some.npz"), (16, 16, 1))
