"""The parameters that fit another model, by name and shape."""

import jax
import numpy as np
import pytest

from vaejax import families
from vaejax.core.game import init
from vaejax.experiment.init_from import match_params
from vaejax.optimizers.build import players
from vaejax.quantizers import vector


def vqvae(size):
    """Shapes of the parameters of a convolutional VQ-VAE of images of a size."""
    rows = {
        "vae": {"minimizes": {"nll": 1.0, "vq": 0.25}, "learning_rate": 1e-3},
        "codebook": {"minimizes": {"vq": 1.0}, "learning_rate": 1e-3, "optimizer": "sgd"},
    }
    network = {"kind": "residual", "hidden": 4, "downsamplings": 2, "blocks": 1}
    family = families.vqvae((size, size, 1), players(rows), quantizer=vector(8, 4), network=network)
    batch = {"image": jax.ShapeDtypeStruct((2, size, size, 1), np.float32)}
    return jax.eval_shape(lambda b: init(family, jax.random.key(0), b), batch)


def zeros(shapes):
    return jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)


def test_convolutions_fit_any_image_size():
    small, large = vqvae(16), vqvae(32)
    found = match_params(large, zeros(small))
    assert found.left == []
    assert jax.tree.structure(found.values) == jax.tree.structure(large)


def test_what_does_not_fit_is_left():
    own = {
        "encoder": {"a": {"w": np.zeros((2, 3)), "b": np.zeros(3)}, "c": {"w": np.zeros(1)}},
        "decoder": {"a": {"w": np.zeros(4)}},
    }
    other = {
        "encoder": {"a": {"w": np.ones((5, 3)), "b": np.ones(3)}},
        "decoder": {"a": {"w": np.ones(4)}},
        "discriminator": {"a": {"w": np.ones(1)}},
    }
    found = match_params(own, other)
    assert found.taken == ["encoder (1 of 3 arrays)", "decoder (1 arrays)"]
    assert found.left == [
        "encoder/a/w (shape [5, 3] there, [2, 3] here)",
        "encoder/c/w (not in the other model)",
        "discriminator (only in the other model)",
    ]
    assert found.values["encoder"].keys() == {"a"}
    assert found.values["encoder"]["a"].keys() == {"b"}
    only = match_params(own, other, ("decoder",))
    assert only.values.keys() == {"decoder"}
    assert "encoder (not in init_groups)" in only.left


@pytest.mark.parametrize(
    ("other", "groups", "message"),
    [
        ({"encoder": {"w": np.zeros(2)}}, (), "none of the parameters has the same name and shape"),
        ({"encoder": {"w": np.zeros(2)}}, ("encoder",), "none of the group 'encoder'"),
        ({"encoder": {"w": np.zeros(3)}}, ("decoder",), "this model has no group"),
        ({"decoder": {"w": np.zeros(3)}}, ("encoder",), "the model of init_from has no group"),
    ],
)
def test_nothing_to_take_is_an_error(other, groups, message):
    with pytest.raises(ValueError, match=message):
        match_params({"encoder": {"w": np.zeros(3)}}, other, groups)
