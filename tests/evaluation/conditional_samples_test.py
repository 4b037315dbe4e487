"""Grids of conditional models in which only the condition or only z changes."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from vaejax.core import game
from vaejax.core.events import event
from vaejax.core.game import Family, Latent, Model, Trace
from vaejax.distributions import Normal
from vaejax.evaluation.conditional_samples import (
    sample_per_condition,
    vary_condition,
    vary_latent,
)

RNG = np.random.RandomState(0)


def transparent():
    """A model whose decoder mean is (z, condition), concatenated to `[B, 2 + 1]`."""

    def encode(params, batch, key):
        x, c = event(batch), batch["condition"]
        prior = Normal(jnp.concatenate([10 * c, -c], axis=1), jnp.ones((len(x), 2)))
        posterior = Normal(x, jnp.ones_like(x))
        z = posterior.mean if key is None else posterior.sample(key)
        return (Latent(posterior, prior, z),)

    def decode(params, zs, condition):
        mean = jnp.concatenate([zs[0], condition["condition"]], axis=1)
        return Normal(mean, jnp.ones_like(mean))

    def generate(params, key, n, condition, temperature):
        z = encode(params, {"vector": jnp.zeros((n, 2)), **condition}, key)[0].prior
        return decode(params, (z.mean + temperature * (z.sample(key) - z.mean),), condition)

    def forward(params, batch, key, step):
        nodes = encode(params, batch, key)
        p = decode(params, (nodes[0].z,), batch)
        return Trace(event(batch), p, nodes, condition=batch["condition"])

    model = Model(lambda key, batch: {}, forward, encode, decode, generate)
    return Family(model, game.chain(), {})


VECTORS = {
    "vector": jnp.asarray(RNG.randn(3, 2), jnp.float32),
    "condition": jnp.asarray([[1.0], [2.0], [3.0]]),
}


def test_vary_condition_keeps_z():
    conditions = {"vector": VECTORS["vector"][:2] + 5, "condition": jnp.asarray([[7.0], [8.0]])}
    sheet = np.asarray(vary_condition(transparent(), {}, VECTORS, conditions))
    assert sheet.shape == (3, 2, 3)
    for i in range(3):  # the row's own z, its posterior mean, in every column
        np.testing.assert_array_equal(sheet[i, :, :2], np.tile(VECTORS["vector"][i], (2, 1)))
        np.testing.assert_array_equal(sheet[i, :, 2], [7.0, 8.0])


def test_vary_latent_interpolates_between_samples_and_keeps_the_condition():
    family, key = transparent(), jax.random.key(1)
    sheet = np.asarray(vary_latent(family, {}, VECTORS, key, 5), np.float64)
    assert sheet.shape == (3, 5, 3)
    prior_mean = np.array([[10, -1], [20, -2], [30, -3]])
    deviation = sheet[..., :2] - prior_mean[:, None]
    for i in range(3):
        np.testing.assert_array_equal(sheet[i, :, 2], i + 1)  # the row's own condition
        start, end = deviation[i, 0], deviation[i, -1]
        for j, angle in enumerate(np.linspace(0, np.pi / 2, 5)):
            want = np.cos(angle) * start + np.sin(angle) * end
            np.testing.assert_allclose(deviation[i, j], want, atol=1e-5)
    assert len(np.unique(sheet[..., 0])) == 15


def test_every_interpolated_point_has_the_distribution_of_the_prior():
    n = 4000
    batch = {"vector": jnp.zeros((n, 2)), "condition": jnp.ones((n, 1))}
    sheet = vary_latent(transparent(), {}, batch, jax.random.key(2), 3)
    for j in range(3):
        z = np.asarray(sheet[:, j, 0])
        assert scipy.stats.kstest(z, scipy.stats.norm(10, 1).cdf).pvalue > 1e-4


def test_samples_of_a_row_share_their_condition_and_differ_in_z():
    conditions = {"condition": VECTORS["condition"]}
    sheet = sample_per_condition(transparent(), {}, conditions, jax.random.key(0), 4)
    np.testing.assert_array_equal(sheet[..., 2], np.tile([[1.0], [2.0], [3.0]], (1, 4)))
    assert len(np.unique(sheet[..., 0])) == 12
    zero_temperature = sample_per_condition(
        transparent(), {}, conditions, jax.random.key(0), 4, 0.0
    )
    np.testing.assert_array_equal(
        zero_temperature[..., 0], np.tile([[10.0], [20.0], [30.0]], (1, 4))
    )
