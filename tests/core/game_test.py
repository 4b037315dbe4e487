"""The table of players and its checks, objectives, and groups of parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.core.small_game import BATCH, KEY, SHAPE, SMALL, abstract_init, beta_vae, transform
from vaejax import networks, quantizers
from vaejax.core import game
from vaejax.core.game import Family, Player
from vaejax.distributions import likelihoods
from vaejax.models import autoencoder


def with_players(**owns):
    players = {name: Player(groups, {"nll": 1.0}, optax.sgd(0.1)) for name, groups in owns.items()}
    return beta_vae()._replace(players=players)


def test_merge_adds_in_place_and_refuses_duplicate_names():
    groups = {"a": 1}
    assert game.merge(groups, {"b": 2}, "x") is groups
    assert groups == {"a": 1, "b": 2}
    with pytest.raises(ValueError, match=r"the bottleneck makes .* already: \['a'\]"):
        game.merge(groups, {"a": 3}, "the bottleneck")


def test_assign_joins_owners_and_settings_and_reports_unknown_and_missing_players():
    tx = optax.sgd(0.1)
    owners = {"vae": ("encoder", "decoder"), "discriminator": ("discriminator",)}
    table = game.assign(owners, {"vae": ({"nll": 1.0}, tx), "discriminator": ({"tc": 1.0}, tx)})
    assert table["vae"] == Player(("encoder", "decoder"), {"nll": 1.0}, tx)
    with pytest.raises(
        ValueError, match=r"no player 'discriminater'.*did you mean 'discriminator'"
    ):
        game.assign(owners, {"vae": ({}, tx), "discriminater": ({}, tx)})
    with pytest.raises(ValueError, match=r"given for the players \['discriminator'\]"):
        game.assign(owners, {"vae": ({}, tx)})


def test_a_group_with_two_owners_is_refused():
    family = with_players(vae=("encoder", "decoder"), other=("decoder",))
    with pytest.raises(ValueError, match="'decoder' has two owners: 'vae' and 'other'"):
        abstract_init(family)
    with pytest.raises(ValueError, match="two owners"):
        game.optimizer(family.players)


def test_a_group_without_an_owner_is_refused():
    with pytest.raises(ValueError, match=r"without an owner: \['decoder'\]"):
        abstract_init(with_players(vae=("encoder",)))


def test_an_unknown_group_is_refused_with_near_names():
    family = with_players(vae=("encoder", "decoder"), other=("encoderr",))
    with pytest.raises(ValueError, match=r"'other' owns an unknown group 'encoderr'.*'encoder'"):
        abstract_init(family)


def test_an_unknown_loss_is_refused_with_near_names_at_build_and_in_the_objective():
    message = r"unknown loss 'kll' \(known: kl, nll\); did you mean .*'kl'"
    with pytest.raises(ValueError, match=message):
        abstract_init(beta_vae({"nll": 1.0, "kll": 1.0}))
    with pytest.raises(ValueError, match=r"the loss 'kll'.*did you mean 'kl'"):
        game.objective({"kll": 1.0}, {"kl": jnp.zeros(4)}, jnp.zeros((), jnp.int32))


def test_objective_of_every_kind_of_weight_and_loss():
    rng = np.random.RandomState(1)
    values = {
        "scalar": jnp.float32(3.0),
        "nll": jnp.asarray(rng.rand(4), jnp.float32),
        "kl": jnp.asarray(rng.rand(4, 3), jnp.float32),
    }
    nll, kl = np.asarray(values["nll"], np.float64), np.asarray(values["kl"], np.float64)
    per_level = np.array([0.5, 1.0, 2.0])
    schedule, step = lambda t: 0.1 * t.astype(jnp.float32), jnp.asarray(7, jnp.int32)
    minimizes = {"scalar": -1, "nll": schedule, "kl": jnp.asarray(per_level, jnp.float32)}
    want = -3.0 + 0.7 * nll.mean() + (kl.mean(0) * per_level).sum()
    np.testing.assert_allclose(game.objective(minimizes, values, step), want, rtol=1e-6)
    want = 3.0 * 2 + kl.sum(1).mean()
    got = game.objective({"scalar": 2, "kl": 1.0}, values, step)
    np.testing.assert_allclose(got, want, rtol=1e-6)
    # Traced weights, vectorised over three of them.
    betas = jnp.array([0.0, 1.0, 4.0])
    got = jax.vmap(lambda beta: game.objective({"nll": 1.0, "kl": beta}, values, step))(betas)
    want = nll.mean() + np.array([0.0, 1.0, 4.0]) * kl.sum(1).mean()
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_objective_refuses_losses_that_are_not_per_example():
    with pytest.raises(AssertionError):
        game.objective({"nll": 1.0}, {"nll": jnp.zeros((4, 3, 2))}, jnp.zeros((), jnp.int32))


def test_parameter_groups_of_losses_can_have_their_own_player():
    def init(key, trace):
        return {"scale": jnp.ones(())}

    def apply(before, params, trace, key):
        return {**before, "scaled": params["scale"] * before["kl"].sum()}

    base = beta_vae()
    players = {**base.players, "other": Player(("scale",), {"scaled": -1.0}, optax.sgd(1.0))}
    family = Family(base.model, game.chain(base.losses, transform(apply, init)), players)
    assert set(abstract_init(family)) == {"encoder", "decoder", "scale"}
    clash = family._replace(losses=transform(apply, lambda key, trace: {"encoder": jnp.ones(())}))
    with pytest.raises(ValueError, match=r"the chain of losses makes .*\['encoder'\]"):
        abstract_init(clash)


def test_two_bottleneck_groups_of_one_name_are_refused():
    bottleneck = quantizers.bottleneck(quantizers.vector(4, 2), group="encoder")
    encoder, decoder = networks.build(SMALL, SHAPE, 2, 1)
    model = autoencoder(encoder, bottleneck, decoder, likelihoods.bernoulli(), SHAPE)
    with pytest.raises(ValueError, match=r"the bottleneck makes .*\['encoder'\]"):
        jax.eval_shape(model.init, KEY, BATCH)
