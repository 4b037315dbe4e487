"""Chains of losses, the table of players and its checks, and the gradient of a game.

The gradient of VQ-VAE as a two-player game is compared bit for bit with that of the paper's scalar
loss with stop-gradients (1711.00937, eq. 3).
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vaejax import families, losses, networks, quantizers
from vaejax.core import game
from vaejax.core.game import Family, LossTransform, Player, Trace
from vaejax.distributions import likelihoods
from vaejax.models import autoencoder
from vaejax.quantizers import vector

SHAPE = (8, 8, 1)
KEY = jax.random.key(0)
BATCH = {"image": np.random.RandomState(0).rand(8, *SHAPE).astype(np.float32)}
TRACE = Trace(jnp.zeros((4, 3)), None, ())
SMALL = {"kind": "residual", "hidden": 8, "blocks": 1, "block_hidden": 4, "downsamplings": 1}
SMALL["implementation"] = "native"


def transform(apply, init=lambda key, trace: {}):
    return LossTransform(init, apply)


def named(**values):
    return losses.stateless(lambda before, trace: values)


def beta_vae(weights=None, **options):
    weights = weights or {"nll": 1.0, "kl": 1.0}
    network = {"kind": "mlp", "hidden": (8,)}
    players = {"vae": (weights, optax.sgd(0.1))}
    return families.beta_vae(SHAPE, players, latent_dim=2, network=network, **options)


def with_players(**owns):
    players = {name: Player(groups, {"nll": 1.0}, optax.sgd(0.1)) for name, groups in owns.items()}
    return beta_vae()._replace(players=players)


def abstract_init(family):
    """Shapes of the parameters, after every check, without computing them."""
    return jax.eval_shape(lambda: game.init(family, KEY, BATCH))


def test_a_transform_receives_the_losses_before_it():
    double = losses.stateless(lambda before, trace: {"b": 2 * before["a"]})
    out = game.chain(named(a=jnp.arange(4.0)), double).apply({}, {}, TRACE, KEY)
    assert list(out) == ["a", "b"]
    np.testing.assert_array_equal(out["b"], 2 * np.arange(4.0))


def test_chain_gives_each_transform_its_own_key():
    def noise(name):
        return transform(lambda x, params, trace, key: {**x, name: jax.random.normal(key, (4,))})

    out = game.chain(noise("a"), noise("b")).apply({}, {}, TRACE, KEY)
    assert not np.array_equal(out["a"], out["b"])


def test_chain_refuses_overwriting_and_dropping():
    first = named(a=jnp.zeros(4), b=jnp.zeros(4))
    with pytest.raises(ValueError, match=r"loss transform 1 of the chain overwrites .* \['a'\]"):
        game.chain(first, named(a=jnp.ones(4))).apply({}, {}, TRACE, KEY)
    drop = transform(lambda x, params, trace, key: {"a": x["a"]})
    with pytest.raises(ValueError, match=r"drops \['b'\]"):
        game.chain(first, drop).apply({}, {}, TRACE, KEY)


def test_a_transform_cannot_modify_the_dict_it_receives():
    def modify(x, params, trace, key):
        x["a"] = jnp.ones(4)
        return x

    with pytest.raises(ValueError, match="overwrites"):
        game.chain(named(a=jnp.zeros(4)), transform(modify)).apply({}, {}, TRACE, KEY)


def test_chain_joins_the_parameters_of_its_transforms_and_refuses_duplicate_names():
    def discriminator(name):
        return transform(lambda x, *_: x, lambda key, trace: {name: jax.random.normal(key, (2,))})

    groups = game.chain(discriminator("one"), discriminator("two")).init(KEY, TRACE)
    assert set(groups) == {"one", "two"}
    assert not np.array_equal(groups["one"], groups["two"])
    with pytest.raises(ValueError, match=r"exist already: \['one'\]"):
        game.chain(discriminator("one"), discriminator("one")).init(KEY, TRACE)


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


def test_each_player_moves_only_its_own_groups_by_its_own_optimizer():
    players = {
        "a": Player(("one",), {"x": 1.0}, optax.sgd(0.1)),
        "b": Player(("two",), {"y": 1.0}, optax.sgd(10.0)),
    }
    params = {"one": jnp.array([1.0, 2.0]), "two": jnp.array([3.0, 4.0])}

    def losses_fn(params):  # each loss depends on both groups
        product = params["one"] * params["two"]
        return {"x": product.sum(), "y": -(product**2).sum()}, None

    grads, values, _ = game.game_gradient(losses_fn, players)(params, jnp.int32(0))
    np.testing.assert_allclose(grads["one"], [3.0, 4.0])
    np.testing.assert_allclose(grads["two"], [-6.0, -32.0])  # -2 x² y
    np.testing.assert_allclose(values["x"], 11.0)
    tx = game.optimizer(players)
    updates, _ = tx.update(grads, tx.init(params), params)
    np.testing.assert_allclose(updates["one"], [-0.3, -0.4], rtol=1e-6)
    np.testing.assert_allclose(updates["two"], [60.0, 320.0], rtol=1e-6)


def vqvae_both_ways():
    """The gradient of the game, that of the paper's scalar loss, and their arguments."""
    players = {
        "vae": ({"nll": 1.0, "vq": 0.25}, optax.sgd(0.1)),
        "codebook": ({"vq": 1.0}, optax.sgd(0.1)),
    }
    family = families.vqvae(SHAPE, players, quantizer=vector(16, 4), network=SMALL)
    losses_fn = game.losses_and_trace(family)
    gradient = game.game_gradient(losses_fn, family.players)
    rng, step = np.random.RandomState(0), jnp.zeros((), jnp.int32)
    shapes = abstract_init(family)
    params = jax.tree.map(lambda a: jnp.asarray(0.3 * rng.randn(*a.shape), jnp.float32), shapes)

    def as_game(params, image, key):
        return gradient(params, step, {"image": image}, key, step)[0]

    def paper(params, image, key):
        _, trace = losses_fn(params, {"image": image}, key, step)
        q, sg = trace.latents[0].posterior, jax.lax.stop_gradient
        nll = -trace.likelihood.log_prob(image).reshape(len(image), -1).sum(1)
        codebook = jnp.square(sg(q.features) - q.codes).reshape(len(image), -1).sum(1)
        commitment = jnp.square(q.features - sg(q.codes)).reshape(len(image), -1).sum(1)
        return nll.mean() + codebook.mean() + 0.25 * commitment.mean()

    return jax.jit(as_game), jax.jit(jax.grad(paper)), (params, jnp.asarray(BATCH["image"]), KEY)


def test_vqvae_as_a_game_has_exactly_the_papers_gradient_for_no_more_flops():
    as_game, paper, args = vqvae_both_ways()
    got, want = as_game.lower(*args).compile(), paper.lower(*args).compile()
    grads = got(*args)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(grads)), "a gradient is zero everywhere"
    jax.tree.map(np.testing.assert_array_equal, grads, want(*args))
    assert got.cost_analysis()["flops"] <= want.cost_analysis()["flops"]


def test_players_share_the_loops_that_sample_random_numbers():
    """The compiler merges the forward passes, so no sample is computed once per player."""

    def losses_fn(params, key):
        noise = jax.random.normal(key, (5, 40))
        order = jax.random.permutation(jax.random.fold_in(key, 1), 40)
        h = jnp.tanh(params["a"] * noise)[:, order]
        return {"x": h, "y": jnp.tanh(params["b"] * h)}, noise

    one = {"one": Player(("a",), {"x": 1.0}, optax.sgd(1.0))}
    two = {**one, "two": Player(("b",), {"y": 1.0}, optax.sgd(1.0))}
    params, step = {"a": jnp.float32(2.0), "b": jnp.float32(3.0)}, jnp.int32(0)

    def loops(players):
        owned = {group: params[group] for row in players.values() for group in row.owns}

        def gradient(owned, key):
            return game.game_gradient(lambda p, key: losses_fn({**params, **p}, key), players)(
                owned, step, key
            )

        return jax.jit(gradient).lower(owned, KEY).compile().as_text().count(" while(")

    assert loops(two) == loops(one) > 0
    grads, values, noise = game.game_gradient(losses_fn, two)(params, step, KEY)
    want = jax.grad(lambda b: losses_fn({**params, "b": b}, KEY)[0]["y"].mean(axis=0).sum())
    np.testing.assert_allclose(grads["b"], want(params["b"]), rtol=1e-5)
    np.testing.assert_array_equal(values["y"], losses_fn(params, KEY)[0]["y"])
    np.testing.assert_array_equal(noise, losses_fn(params, KEY)[1])


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
