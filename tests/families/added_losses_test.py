"""Families with a discriminator and other added losses: players, groups and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.families.adversarial import _discriminate, _init
from tests.random_params import random_params
from vaejax import families, networks
from vaejax.core import game
from vaejax.core.game import init

SHAPE = (16, 16, 1)
VAE = {"vae": ({"nll": 1.0}, optax.sgd(0.1))}
BOTH = {**VAE, "discriminator": ({"gan": 1.0}, optax.sgd(0.1))}
SMALL = {"latent_dim": 2, "network": {"kind": "mlp", "hidden": (4,)}, "likelihood": "laplace"}
DISCRIMINATOR = networks.Network(_init, _discriminate)
BATCH = {"image": jnp.zeros((4, *SHAPE))}


def made(players=BOTH, shape=SHAPE, **options):
    return families.beta_vae(shape, players, discriminator=DISCRIMINATOR, **SMALL, **options)


def owners(family):
    return {name: player.owns for name, player in family.players.items()}


def test_each_added_group_has_one_player():
    with_averages = made(adversarial={"lecam": True}, balanced={"nll": 1.0, "generator": 2.0})
    assert owners(with_averages) == {
        "vae": ("encoder", "decoder"),
        "discriminator": ("discriminator",),
        "discriminator_average": ("discriminator_average",),
        "balance": ("balance",),
    }
    assert set(jax.eval_shape(lambda k: init(with_averages, k, BATCH), jax.random.key(0))) == {
        *("encoder", "decoder", "discriminator", "discriminator_average", "balance")
    }
    # `freeze_groups="discriminator"` gives the group to a further player.
    frozen = {**BOTH, "frozen": ({}, optax.set_to_zero(), ("discriminator",))}
    assert owners(made(frozen)) == {"vae": ("encoder", "decoder"), "frozen": ("discriminator",)}


def test_the_perceptual_loss_is_part_of_what_the_generator_is_balanced_with():
    """At weight 0 of nll, a perceptual loss of equal images has no gradient: λ is 0."""
    family = made(
        adversarial={"adaptive": True, "reconstruction": {"perceptual": 1.0}},
        perceptual={"channels": 2, "layers": 1},
    )
    params = init(family, jax.random.key(0), BATCH)
    zero = jax.tree.map(jnp.zeros_like, params["decoder"])

    def balanced(params):
        losses, _ = game.losses_and_trace(family)(params, BATCH, jax.random.key(1), jnp.int32(0))
        return losses["generator_balanced"]

    apply = jax.jit(balanced)
    assert np.abs(apply(params)).max() > 0
    np.testing.assert_allclose(apply({**params, "decoder": zero}), 0.0, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"players": VAE}, r"no losses and optimizer given for the players \['discriminator'\]"),
        ({"adversarial": {"objective": "hing"}}, "unknown adversarial objective 'hing'"),
        ({"adversarial": {"r2": True}}, "adversarial has no setting 'r2'"),
        ({"perceptual": {"features": "runs/none"}}, "read by a config; in Python, pass"),
        ({"spectral": {"size": 3}}, "spectral has no setting 'size'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(options, error):
    with pytest.raises(ValueError, match=error):
        made(**options)


def test_events_and_models_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"model\.discriminator is not set"):
        families.beta_vae(SHAPE, VAE, adversarial={"r1": True}, **SMALL)
    with pytest.raises(ValueError, match="this family has no player 'discriminator'"):
        families.beta_vae(SHAPE, BOTH, **SMALL)
    with pytest.raises(ValueError, match=r"takes signals of shape \(T, C\), found"):
        families.beta_vae(SHAPE, BOTH, discriminator="stft", **SMALL)
    with pytest.raises(ValueError, match=r"images of shape \(H, W, C\), found events of shape"):
        families.beta_vae((5,), VAE, perceptual={}, **SMALL)
    undeclared = networks.Network(lambda key, x: {}, lambda params, x: x)
    with pytest.raises(ValueError, match="does not declare: name it, as in"):
        families.beta_vae(
            SHAPE, BOTH, discriminator=DISCRIMINATOR, adversarial={"adaptive": True},
            latent_dim=2, network=(undeclared, undeclared), likelihood="laplace",
        )  # fmt: skip


@pytest.mark.parametrize("kind", ["mlp", "conv", "residual", "latent_diffusion", "codec"])
def test_the_declared_last_layer_makes_the_output(kind):
    """With its weights at zero the output is its bias, the same for every z and position."""
    options = {"mlp": {"hidden": (4,)}, "conv": {"channels": (2, 3), "kernels": (4, 4)}}
    options["latent_diffusion"] = {"channels": (2, 2, 2), "blocks": 1}
    options["codec"] = {"filters": 2, "ratios": (2, 2)}
    sizes = options.get(kind, {"hidden": 4, "downsamplings": 2})
    shape = (16, 1) if kind == "codec" else SHAPE
    _, decoder = networks.build({"kind": kind, **sizes}, shape, 4, 1)
    places = {"mlp": (), "conv": (), "codec": (4,)}.get(kind, (4, 4))
    z = jnp.asarray(np.random.RandomState(0).randn(2, *places, 4), jnp.float32)
    params = random_params(decoder.init, jax.random.key(0), z, noise=0.0)
    *path, leaf = decoder.last_layer.split("/")
    layer = params
    for name in path:
        layer = layer[name]
    apply = jax.jit(decoder.apply)
    assert np.ptp(apply(params, z)) > 0
    layer[leaf] = jnp.zeros_like(layer[leaf])
    assert np.ptp(apply(params, z)) == 0
