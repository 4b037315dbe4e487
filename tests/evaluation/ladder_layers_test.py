"""The layers of a ladder whose layers only add, so that all means and variances are known."""

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.game import Family, Latent
from vaejax.distributions import Normal, likelihoods
from vaejax.evaluation.ladder_layers import (
    is_ladder,
    layer_kl,
    reconstruct_from_top,
    resample_lower_layers,
)
from vaejax.models import Stage, ladder
from vaejax.networks import Network

KEY = jax.random.key(0)


def adding_ladder():
    """x = z1 + z2 + z3, each of one number; p(z2 | z1) = N(z1, 1), p(z3 | ·) = N(h, 1)."""
    identity = Network(lambda key, h: {}, lambda params, h: h)
    prior = Network(lambda key, h: {}, lambda params, h: jnp.concatenate([h, 0 * h], axis=-1))
    posterior = Network(lambda key, h, x: {}, lambda params, h, x: jnp.concatenate([x, h], axis=-1))
    step = Network(lambda key, h, more, z: {}, lambda params, h, more, z: h + z)
    up = Network(lambda key, x: {}, lambda params, x: (x, x))
    stages = [
        Stage(1, identity, prior, posterior, step),
        Stage(2, identity, prior, posterior, step),
    ]
    p = likelihoods.normal(scale=1.0)
    model = ladder(up, stages, identity, p, (1,), latent_dims=(1, 1))
    return Family(model, None, {}), {k: model.init(KEY, {"vector": jnp.ones((2, 1))})[k]
                                     for k in ("encoder", "decoder")}  # fmt: skip


def test_reconstructions_from_the_top_use_prior_means_below():
    family, params = adding_ladder()
    zs = tuple(jnp.full((2, 1), v) for v in (1.0, 10.0, 100.0))
    assert is_ladder(family, [Latent(Normal(z, z), Normal(z, z), z) for z in zs])
    means = reconstruct_from_top(family, params, zs, [1, 2, 3])[:, 0, 0]
    # After z1, h = 1; the mean of z2 is 1, then h = 2; the mean of z3 is 2, then x = 4.
    np.testing.assert_allclose(means, [4.0, 22.0, 111.0])


def test_lower_layers_are_resampled_and_top_layers_fixed():
    family, params = adding_ladder()
    zs = tuple(jnp.full((1, 1), v) for v in (1.0, 10.0, 100.0))
    samples = resample_lower_layers(family, params, zs, [1, 2, 3], 4000, KEY)
    samples = np.asarray(samples)[..., 0, 0]  # [K, S]
    # h = 2 (h before) + ε at each layer: variances 4 + 1, 1 and 0.
    np.testing.assert_allclose(samples.mean(axis=1), [4.0, 22.0, 111.0], atol=0.15)
    np.testing.assert_allclose(samples.var(axis=1), [5.0, 1.0, 0.0], atol=0.4)


def test_layer_kl_is_summed_over_the_event():
    q = Normal(jnp.ones((2, 3, 4)), jnp.ones((2, 3, 4)))
    p = Normal(jnp.zeros((1, 1, 1)), jnp.ones((1, 1, 1)))
    nodes = [Latent(q, p, q.loc), Latent(Normal(2 * q.loc, q.scale), p, q.loc)]
    np.testing.assert_allclose(layer_kl(nodes), [12 * 0.5, 12 * 2.0], rtol=1e-6)
