"""Pictures of ladders, read back through a ladder whose layers do nothing but add."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from matplotlib import image

from vaejax import families
from vaejax.core.game import Family, Latent, Trace
from vaejax.distributions import Normal, likelihoods
from vaejax.models import Stage, ladder
from vaejax.networks import Network
from vaejax.visualization.ladder_layers import (
    cuts,
    draw_layers,
    drawn_anew,
    from_the_top,
    is_ladder,
)
from vaejax.visualization.ladder_layers import layer_kl as of_layers

KEY = jax.random.key(0)


def adding():
    """x = z1 + z2 + z3, each of one number; p(z2 | z1) = N(z1, 1), p(z3 | ·) = N(h, 1)."""
    same = Network(lambda key, h: {}, lambda params, h: h)
    prior = Network(lambda key, h: {}, lambda params, h: jnp.concatenate([h, 0 * h], axis=-1))
    posterior = Network(lambda key, h, x: {}, lambda params, h, x: jnp.concatenate([x, h], axis=-1))
    step = Network(lambda key, h, more, z: {}, lambda params, h, more, z: h + z)
    up = Network(lambda key, x: {}, lambda params, x: (x, x))
    stages = [Stage(1, same, prior, posterior, step), Stage(2, same, prior, posterior, step)]
    p = likelihoods.normal(scale=1.0)
    model = ladder(up, stages, same, p, (1,), latent_dims=(1, 1))
    return Family(model, None, {}), {k: model.init(KEY, {"vector": jnp.ones((2, 1))})[k]
                                     for k in ("encoder", "decoder")}  # fmt: skip


def test_the_top_layers_alone_leave_the_others_at_their_expectation():
    family, params = adding()
    zs = tuple(jnp.full((2, 1), v) for v in (1.0, 10.0, 100.0))
    assert is_ladder(family, [Latent(Normal(z, z), Normal(z, z), z) for z in zs])
    found = from_the_top(family, params, zs, [1, 2, 3])[:, 0, 0]
    # h after z1 is 1; expected z2 is 1, h is 2, expected z3 is 2: 4. And so on.
    np.testing.assert_allclose(found, [4.0, 22.0, 111.0])


def test_what_is_below_is_drawn_and_what_is_above_is_fixed():
    family, params = adding()
    zs = tuple(jnp.full((1, 1), v) for v in (1.0, 10.0, 100.0))
    found = np.asarray(drawn_anew(family, params, zs, [1, 2, 3], 4000, KEY))[..., 0, 0]  # [K, S]
    # h = 2 (h before) + ε at each layer: variances 4 + 1, 1 and 0.
    np.testing.assert_allclose(found.mean(axis=1), [4.0, 22.0, 111.0], atol=0.15)
    np.testing.assert_allclose(found.var(axis=1), [5.0, 1.0, 0.0], atol=0.4)


def test_kl_of_each_layer_is_summed_over_its_event():
    q = Normal(jnp.ones((2, 3, 4)), jnp.ones((2, 3, 4)))
    p = Normal(jnp.zeros((1, 1, 1)), jnp.ones((1, 1, 1)))
    nodes = [Latent(q, p, q.loc), Latent(Normal(2 * q.loc, q.scale), p, q.loc)]
    np.testing.assert_allclose(of_layers(nodes), [12 * 0.5, 12 * 2.0], rtol=1e-6)


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
def test_cuts_are_the_ends_of_resolutions_first(shapes, expected):
    found = cuts(shapes)
    assert len(found) <= 6
    assert found == expected


def test_files_of_a_ladder_of_images(tmp_path):
    players = {"vae": ({"nll": 1.0, "kl": 1.0}, optax.adam(1e-3))}
    network = {"kind": "dense", "latent_dims": (2, 3), "hidden": (8, 8)}
    family = families.hierarchical((8, 8, 1), players, network=network)
    x = jnp.asarray(np.random.RandomState(0).rand(5, 8, 8, 1) > 0.5, jnp.float32)
    params = jax.jit(family.model.init)(KEY, {"image": x})
    trace: Trace = jax.jit(family.model.forward)(params, {"image": x}, KEY, None)
    draw_layers(family, params, trace, tmp_path, seed=0, images=True)
    sizes = {p.name: image.imread(p).shape for p in tmp_path.iterdir()}
    assert sizes.keys() == {"kl_per_layer.png", "layers.png", "resampled.png"}
    assert min(min(s[:2]) for s in sizes.values()) > 50
