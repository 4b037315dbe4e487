"""Figures of the layers of a ladder."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from matplotlib import image

from tests.random_params import random_params
from vaejax import families
from vaejax.core.game import Trace
from vaejax.visualization.ladder_layers import draw_ladder_layers, select_layers

KEY = jax.random.key(0)


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ([(1,), (2,), (3,)], [1, 2, 3]),
        ([(1,)] * 2 + [(4,)] * 3 + [(9,)] * 4, [1, 2, 3, 5, 7, 9]),
        ([(1,)] * 40, [5, 10, 15, 20, 30, 40]),
        ([(i,) for i in range(40)], [1, 11, 20, 29, 39, 40]),
        ([(1,)] * 2, [1, 2]),
    ],
)
def test_selected_layers_are_the_ends_of_resolutions_first(shapes, expected):
    selected = select_layers(shapes)
    assert len(selected) <= 6
    assert selected == expected


def test_figures_of_a_ladder_of_images(tmp_path):
    players = {"vae": ({"nll": 1.0, "kl": 1.0}, optax.adam(1e-3))}
    network = {"kind": "dense", "latent_dims": (2, 3), "hidden": (8, 8)}
    family = families.hierarchical((8, 8, 1), players, network=network)
    x = jnp.asarray(np.random.RandomState(0).rand(5, 8, 8, 1) > 0.5, jnp.float32)
    params = random_params(family.model.init, KEY, {"image": x})
    trace: Trace = jax.jit(family.model.forward)(params, {"image": x}, KEY, None)
    draw_ladder_layers(family, params, trace, tmp_path, seed=0, images=True)
    sizes = {p.name: image.imread(p).shape for p in tmp_path.iterdir()}
    assert sizes.keys() == {"kl_per_layer.png", "layers.png", "resampled.png"}
    assert min(min(s[:2]) for s in sizes.values()) > 50
