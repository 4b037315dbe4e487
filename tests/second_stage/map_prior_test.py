"""A mixture of Gaussians over a map of continuous latents, as one vector."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tests.random_params import random_params
from vaejax import families
from vaejax.core import game
from vaejax.core.game import losses_and_trace
from vaejax.data import from_arrays
from vaejax.quantizers.token_layout import layout_of_model
from vaejax.training.two_stage import first_stage

KEY, SHAPE = jax.random.key(0), (8, 8, 1)
ARRAYS = {"image": np.random.RandomState(0).randint(0, 256, (20, *SHAPE)).astype(np.uint8)}


def test_the_prior_of_a_map_is_that_of_its_elements_in_one_row():
    source = from_arrays(ARRAYS, "train", holdout=0.0)
    network = {"kind": "residual", "hidden": 4, "downsamplings": 2, "blocks": 0}
    players = {"vae": ({"nll": 1.0}, optax.sgd(0.1))}
    family = families.beta_vae(SHAPE, players, latent_dim=3, network=network, likelihood="laplace")
    batch = jax.tree.map(jnp.asarray, source.decode(source.take(np.arange(6))))
    params = random_params(functools.partial(game.init, family), KEY, batch)
    assert layout_of_model("it", family, params, batch) is None
    first = first_stage(family, params, source, batch_size=10)
    assert first.latent_spec().event_shape == (12,)
    latents = first.latents(source)
    rows = latents.decode(latents.take(np.arange(20)))
    assert rows["vector"].shape == (20, 12)
    prior = families.gaussian_mixture(
        (12,), {"prior": ({"nll": 1.0}, optax.sgd(0.1))}, components=2, kmeans_iterations=1
    )
    second = jax.jit(functools.partial(game.init, prior))(KEY, rows)
    joint, both = first.joint_family(prior), first.joint_params(second)
    losses, trace = jax.jit(losses_and_trace(joint, training=False))(both, batch, KEY, 0)
    (node,) = trace.latents
    assert node.z.shape == (6, 2, 2, 3)
    own = jax.jit(
        lambda p, b: prior.model.forward(p, b, KEY, None).likelihood.log_prob(b["vector"])
    )
    log_p = own(second, {"vector": node.z.reshape(6, 12)}).reshape(6, -1).sum(axis=1)
    log_q = node.posterior.log_prob(node.z).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(losses["kl"][:, 0], log_q - log_p, rtol=1e-4, atol=1e-3)
    sample = jax.jit(lambda p: joint.model.generate(p, KEY, 5).mean)(both)
    assert sample.shape == (5, *SHAPE)
