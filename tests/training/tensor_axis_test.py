"""Steps on meshes with an axis `tensor` against one device, and the collectives of each layout."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from benchmarks.collectives import bytes_per_device, collectives_of, counts_of
from vaejax import families
from vaejax.core.sharding import make_mesh
from vaejax.data import load
from vaejax.networks import Network
from vaejax.optimizers.build import players
from vaejax.training import Settings, Trainer

SHAPE = (8, 8, 1)


def step(family, source, shape, initial=None):
    """The state before and after a step on a mesh, and the collectives of the program."""
    settings = Settings(steps=1, batch_size=16, steps_per_dispatch=1)
    trainer = Trainer(family, source, settings, seed=1, mesh=make_mesh(*shape))
    (_, batches), *_ = trainer.loader.batches([(0, 1)])
    if initial is None:
        state = trainer.init()
    else:
        state = jax.device_put(initial, jax.tree.map(lambda s: s.sharding, trainer.state_shape))
    initial = jax.device_get(state)
    arguments = state, trainer.loader.data, batches, np.int32(1)
    compiled = trainer.run.lower(*arguments).compile()
    collectives = collectives_of(compiled.as_text(), int(np.prod(shape)))
    return initial, jax.device_get(compiled(*arguments)[0]), collectives


def assert_equal_states(found, expected, rtol=1e-5, atol=1e-5):
    agree = functools.partial(np.testing.assert_allclose, rtol=rtol, atol=atol)
    jax.tree.map(agree, found, expected)


def test_collectives_of_data_parallel_training(beta_vae, source):
    """One all-reduce of all gradients, of the metrics and of the check that they are finite."""
    initial, _, collectives = step(beta_vae, source(), (8, 1, 1))
    assert counts_of(collectives) == {"all-reduce": 1}
    numbers = sum(a.size for a in jax.tree.leaves(initial.params))
    sent = 2 * 4 * numbers * 7 / 8
    assert sent < bytes_per_device(collectives) < 1.05 * sent


def test_collectives_of_sharded_parameters(beta_vae, source):
    """Parameters are gathered, and each device keeps its share of their gradients."""
    _, _, collectives = step(beta_vae, source(), (1, 8, 1))
    assert counts_of(collectives) == {"all-gather": 3, "all-reduce": 4, "all-to-all": 1}


def test_a_vqvae_on_a_tensor_axis_equals_one_device(vqvae, source):
    initial, expected, none = step(vqvae(), source(), (1, 1, 1))
    assert counts_of(none) == {}
    _, found, collectives = step(vqvae(), source(), (2, 1, 4), initial)
    assert_equal_states(found, expected)
    assert counts_of(collectives) == {"all-gather": 5, "all-reduce": 15}


@pytest.mark.slow
def test_a_factor_vae_on_a_tensor_axis_equals_one_device(source):
    table = {
        "vae": {"minimizes": {"nll": 1.0, "kl": 1.0, "tc": 5.0}, "learning_rate": 1e-3},
        "discriminator": {"minimizes": {"discriminator_loss": 1.0}, "learning_rate": 1e-3},
    }
    options = {"network": {"kind": "mlp", "hidden": (64,)}, "discriminator": {"hidden": (64,) * 3}}
    family = families.factor_vae(SHAPE, players(table), latent_dim=3, **options)
    initial, expected, _ = step(family, source(), (1, 1, 1))
    for shape in ((2, 1, 4), (1, 2, 4)):
        assert_equal_states(step(family, source(), shape, initial)[1], expected)


@pytest.mark.slow
def test_a_transformer_on_a_tensor_axis_equals_one_device():
    source = load("synthetic:codes")
    network = {"kind": "transformer", "layers": 2, "width": 64, "heads": 4}
    family = families.code_prior(
        (source.layout.length,),
        {"prior": ({"nll": 1.0}, optax.sgd(0.01))},
        layout=source.layout,
        network=network,
        classes=source.num_classes,
    )
    initial, expected, _ = step(family, source, (1, 1, 1))
    for shape in ((2, 1, 4), (1, 2, 4)):
        _, found, _ = step(family, source, shape, initial)
        assert_equal_states(found, expected)
        with pytest.raises(AssertionError):
            assert_equal_states(found.params, initial.params)


def flops(family, source, devices):
    """FLOPs of a device in a step of 128 examples."""
    settings = Settings(steps=1, batch_size=128, steps_per_dispatch=1)
    trainer = Trainer(family, source, settings, mesh=make_mesh(devices))
    (_, batches), *_ = trainer.loader.batches([(0, 1)])
    lowered = trainer.run.lower(trainer.state_shape, trainer.loader.data, batches, np.int32(1))
    return lowered.compile().cost_analysis()["flops"]


@pytest.mark.slow
def test_devices_share_the_samples_from_the_prior(source):
    """What is computed from noise alone, as the samples of a VAE-GAN, is not left to every one."""
    table = {
        "encoder": ({"kl": 1.0, "feature": 1.0}, optax.sgd(0.1)),
        "decoder": ({"feature": 0.3, "gan": -1.0}, optax.sgd(0.1)),
        "discriminator": ({"gan": 1.0}, optax.sgd(0.1)),
    }

    def discriminate(params, x):
        features = x.reshape(len(x), -1) @ params["v"]
        return jnp.tanh(features) @ params["w"], features

    shapes = {"v": (64, 64), "w": (64,)}
    discriminator = Network(
        lambda key, x: {k: jax.random.normal(key, shape) for k, shape in shapes.items()},
        discriminate,
    )
    options = {"network": {"kind": "mlp", "hidden": (64, 64)}, "discriminator": discriminator}
    family = families.vae_gan(SHAPE, table, latent_dim=2, **options)
    assert flops(family, source(), 8) < 1.2 / 8 * flops(family, source(), 1)


def test_arrays_are_spread_over_all_axes(vqvae, source):
    settings = Settings(steps=1, batch_size=16)
    shape = Trainer(vqvae(), source(), settings, mesh=make_mesh(1, 2, 4)).state_shape
    for array in (shape.params["codebook"], shape.params["encoder"]["Dense_0"]["kernel"]):
        part = int(np.prod(array.sharding.shard_shape(array.shape)))
        assert part == array.size // (8 if array is shape.params["codebook"] else 2)
