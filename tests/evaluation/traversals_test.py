"""Latent traversals, decoded by a decoder that outputs z."""

import jax.numpy as jnp
import numpy as np
import optax

from vaejax import families
from vaejax.core.game import Latent
from vaejax.distributions import Normal
from vaejax.evaluation import traverse
from vaejax.networks import Network


def test_order_ranges_and_fixed_values_of_traversals():
    """Pixel i shows z_i."""
    loc = np.random.RandomState(0).standard_normal((50, 4)) * [0.5, 3.0, 0.0, 1.0] + 2.0
    scale = np.broadcast_to([0.5, 0.2, 1.0, 0.3], (50, 4))
    q = Normal(jnp.asarray(loc, jnp.float32), jnp.asarray(scale, jnp.float32))
    prior = Normal(jnp.zeros((50, 4)), jnp.ones((50, 4)))
    players = {"vae": ({"nll": 1.0}, optax.sgd(1.0))}
    identity = Network(lambda key, z: {}, lambda params, z: z.reshape(-1, 2, 2, 1))
    family = families.beta_vae(
        (2, 2, 1), players, latent_dim=4, network=(identity, identity), likelihood="normal"
    )
    params = {"encoder": {}, "decoder": {}}
    images, labels = traverse(family, params, Latent(q, prior, q.loc), rows=3, values=5)
    assert images.shape == (3, 5, 2, 2, 1)

    nats = 0.5 * (scale**2 + loc**2 - 1 - np.log(scale**2)).mean(axis=0)
    order = np.argsort(-nats)[:3]
    assert labels == [f"z{i}  {nats[i]:.2f} nats" for i in order]
    z = np.asarray(images).reshape(3, 5, 4)
    for row, i in zip(z, order, strict=True):
        others = [j for j in range(4) if j != i]
        np.testing.assert_allclose(row[:, others], np.tile(loc[0, others], (5, 1)), rtol=1e-6)
        deviation = np.sqrt(loc[:, i].var() + (scale[:, i] ** 2).mean())
        expected = loc[:, i].mean() + deviation * np.array([-2, -1, 0, 1, 2])
        np.testing.assert_allclose(row[:, i], expected, rtol=1e-5, atol=1e-6)
