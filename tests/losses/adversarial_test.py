"""The adversary against formulas by hand: VAE-GAN's Algorithm 1, R1, VQGAN's adaptive weight.

The critic of most tests is written here in three lines, and so are its gradients.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from vaejax import distributions, families, game, losses
from vaejax.game import Trace
from vaejax.networks import Network, image_critic
from vaejax.schedules import schedule
from vaejax.training import balance, optimizers
from vaejax.training.state import init_state, make_step

SHAPE, N = (4, 4, 1), 8
KEY = jax.random.key(0)
STEP = jnp.int32(0)
BATCH = {"image": np.random.RandomState(0).rand(N, *SHAPE).astype(np.float32)}
MLP = {"kind": "mlp", "hidden": (8,)}


def flat(x):
    return x.reshape(x.shape[0], -1)


def verdict(params, x):
    features = flat(x) @ params["v"]
    return jnp.tanh(features) @ params["w"], features


CRITIC = Network(
    lambda key, x: {
        "v": jax.random.normal(key, (16, 5)),
        "w": jax.random.normal(jax.random.fold_in(key, 1), (5,)),
    },
    verdict,
)


def vae_gan(encoder=None, decoder=None, critic=None, tx=None, **options):
    tx = tx or {}
    players = {
        "encoder": (encoder or {"kl": 1.0, "feature": 1.0}, tx.get("encoder", optax.sgd(0.1))),
        "decoder": (decoder or {"feature": 0.3, "gan": -1.0}, tx.get("decoder", optax.sgd(0.1))),
        "critic": (critic or {"gan": 1.0}, tx.get("critic", optax.sgd(0.1))),
    }
    options = {"latent_dim": 2, "network": MLP, "critic": CRITIC} | options
    return families.vae_gan(SHAPE, players, **options)


def gradient_of(family, params, key=KEY, step=STEP):
    gradient = game.game_gradient(game.losses_and_trace(family), family.players)
    return gradient(params, step, BATCH, key, step)[0]


def gradients(family, params, key=KEY):
    return jax.jit(lambda params: gradient_of(family, params, key))(params)


@functools.cache
def some_params():
    return jax.jit(lambda: game.init(vae_gan(), KEY, BATCH))()


def some_trace(seed=0, generated=True):
    draw = np.random.RandomState(seed)
    x, *logits = (jnp.asarray(draw.rand(N, *SHAPE), jnp.float32) for _ in range(3))
    p, q = (distributions.Bernoulli(8 * a - 4) for a in logits)
    return Trace(x, p, (), q if generated else None)


def in_numpy(params, x):
    """Logits and features in float64."""
    features = np.asarray(flat(x), np.float64) @ np.asarray(params["v"], np.float64)
    return np.tanh(features) @ np.asarray(params["w"], np.float64), features


def minus_log_d(d):
    return np.log1p(np.exp(-d))


@pytest.mark.parametrize("objective", ["gan", "non_saturating", "hinge"])
def test_every_name_against_numpy(objective):
    trace = some_trace()
    transform = losses.adversarial(CRITIC, objective, real_weight=1.5, feature_scale=0.7)
    params = transform.init(KEY, trace)
    assert set(params) == {"critic"}
    got = transform.apply({}, params, trace, KEY)
    fakes = trace.likelihood.mean, trace.generated.mean
    (real, of_data), (d1, of_fake), (d2, _) = (
        in_numpy(params["critic"], x) for x in (trace.x, *fakes)
    )
    if objective == "hinge":
        on_real, on_fake = np.maximum(0, 1 - real), [np.maximum(0, 1 + d) for d in (d1, d2)]
        generator = -d1 - d2
    else:
        on_real, on_fake = minus_log_d(real), [minus_log_d(-d) for d in (d1, d2)]
        generator = minus_log_d(d1) + minus_log_d(d2)
    right = 0.5 * (real > 0) + 0.25 * (d1 < 0) + 0.25 * (d2 < 0)
    assert 0 < right.mean() < 1
    want = {
        "gan": 1.5 * on_real + sum(on_fake),
        "gan_real": on_real,
        "gan_fake": sum(on_fake) / 2,
        "feature": -stats.norm.logpdf(of_data, of_fake, 0.7).sum(axis=1),
        "critic_accuracy": right,
    }
    if objective != "gan":
        want["generator"] = generator
    assert set(got) == set(want)
    for name, value in want.items():
        assert got[name].shape == (N,)
        np.testing.assert_allclose(got[name], value, rtol=1e-5, atol=1e-5, err_msg=name)


def algorithm_1(family, params, key, gamma, objective):
    """Larsen et al., Algorithm 1, as one scalar: a stop-gradient for every arrow it leaves out."""
    sg, forward = jax.lax.stop_gradient, family.model.forward
    forward_key = jax.random.split(key)[0]  # as `losses_and_trace` splits it

    def run(encoder, decoder):
        trace = forward({"encoder": encoder, "decoder": decoder}, BATCH, forward_key, STEP)
        return trace, trace.likelihood.mean, trace.generated.mean

    def llike(x, x_tilde, critic):
        gap = verdict(critic, x)[1] - verdict(critic, x_tilde)[1]
        return -0.5 * (gap**2 + jnp.log(2 * jnp.pi)).sum(axis=1).mean()

    def gan(critic, x, *fakes):
        d = jax.nn.sigmoid(verdict(critic, x)[0])
        others = [jax.nn.sigmoid(verdict(critic, fake)[0]) for fake in fakes]
        return (jnp.log(d) + sum(jnp.log(1 - o) for o in others)).mean()

    encoder, decoder, critic = (params[name] for name in ("encoder", "decoder", "critic"))
    trace, x_tilde, _ = run(encoder, sg(decoder))
    q = trace.latents[0].posterior
    prior = 0.5 * (q.loc**2 + q.scale**2 - 1 - 2 * jnp.log(q.scale)).sum(axis=1).mean()
    total = prior - llike(trace.x, x_tilde, sg(critic))  # θ_Enc
    trace, *fakes = run(sg(encoder), decoder)
    total += -gamma * llike(trace.x, fakes[0], sg(critic))  # θ_Dec
    if objective == "gan":
        total += gan(sg(critic), trace.x, *fakes)
    else:  # −log D of the fakes in place of log(1 − D)
        total += -sum(
            jnp.log(jax.nn.sigmoid(verdict(sg(critic), fake)[0])).mean() for fake in fakes
        )
    return total - gan(critic, trace.x, *sg(fakes))  # θ_Dis


@pytest.mark.parametrize("objective", ["gan", "non_saturating"])
def test_three_players_have_the_gradients_of_algorithm_1(objective):
    gamma = 0.3
    decoder = {"feature": gamma} | ({"gan": -1.0} if objective == "gan" else {"generator": 1.0})
    family = vae_gan(decoder=decoder, objective=objective)
    params, key = some_params(), jax.random.key(3)
    want = jax.jit(jax.grad(lambda p: algorithm_1(family, p, key, gamma, objective)))(params)
    got = gradients(family, params, key)
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert np.any(b)
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_the_gan_gradient_never_reaches_the_encoder():

    @jax.jit
    def reaches(own, gan, decoder, critic):
        family = vae_gan(
            encoder={"kl": own, "feature": own, "gan": gan},
            decoder={"feature": 0.3, "gan": decoder},
            critic={"gan": critic},
        )
        return gradient_of(family, some_params())["encoder"]

    assert not any(np.any(g) for g in jax.tree.leaves(reaches(0.0, 0.0, -1e6, 50.0)))
    # It would, were the encoder to minimise it; and the encoder's own losses do reach it.
    for row in ((0.0, -1.0), (1.0, 0.0)):
        assert all(np.any(g) for g in jax.tree.leaves(reaches(*row, -1.0, 1.0)))
    # Nor do the weights of the others change a bit of what reaches it.
    a, b = reaches(1.0, 0.0, 0.0, 0.0), reaches(1.0, 0.0, -1e6, 50.0)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_r1_and_its_gradient_against_jax_grad_on_native_convolutions():
    sizes = {"channels": (3, 4), "hidden": 5, "activation": "silu"}
    trace = some_trace()
    product, native = (image_critic(form=form, **sizes) for form in ("product", "native"))
    transform = losses.adversarial(product, r1=True)
    params = jax.jit(transform.init)(KEY, trace)

    def by_hand(critic):
        def squared(x):
            slope = jax.grad(lambda x: native.apply(critic, x[None])[0][0])(x)
            return 0.5 * (slope**2).sum()

        return jax.vmap(squared)(trace.x)

    def ours(critic):
        return transform.apply({}, {"critic": critic}, trace, KEY)["r1"]

    got, want = jax.jit(ours)(params["critic"]), jax.jit(by_hand)(params["critic"])
    assert got.shape == (N,)
    np.testing.assert_allclose(got, want, rtol=1e-5)
    got, want = (jax.jit(jax.grad(lambda c, f=f: f(c).mean()))(params["critic"])
                 for f in (ours, by_hand))  # fmt: skip
    scale = max(float(jnp.abs(b).max()) for b in jax.tree.leaves(want))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6 * scale), got, want
    )
    # By differences, uphill, so that both orders are seen from outside.
    norm = optax.tree.norm(got)
    shift = jax.tree.map(lambda g: 3e-2 * g / norm, got)
    up, down = (
        jax.jit(ours)(jax.tree.map(lambda a, s, sign=sign: a + sign * s, params["critic"], shift))
        for sign in (1.0, -1.0)
    )
    np.testing.assert_allclose((up - down).mean() / 2, 3e-2 * norm, rtol=1e-2)


@pytest.mark.parametrize("likelihood", ["normal", "bernoulli"])
@pytest.mark.parametrize("loss", ["nll", "feature"])
def test_the_adaptive_weight_against_gradients_by_hand(likelihood, loss):
    """VQGAN's eq. 7 in the weights of a decoder of one hidden layer, in float64."""
    draw = np.random.RandomState(0)
    hidden = np.maximum(draw.randn(N, 6), 0)  # the decoder's hidden layer stands for z
    kernel, x = draw.randn(6, 16), draw.rand(N, 16)
    of = {
        "normal": lambda a: distributions.Normal(a, jnp.full_like(a, 0.3)),
        "bernoulli": distributions.Bernoulli,
    }[likelihood]

    def decode(params, zs):
        return of((zs[0] @ params["decoder"]["last"]).reshape(N, *SHAPE))

    params = {"decoder": {"last": jnp.asarray(kernel, jnp.float32)}}
    z = jnp.asarray(hidden, jnp.float32)
    node = game.Latent(None, None, z)
    image = jnp.asarray(x, jnp.float32).reshape(N, *SHAPE)
    trace = Trace(image, decode(params, (z,)), (node,), of(jnp.zeros((N, *SHAPE))))
    adaptive = losses.Adaptive(decode, "decoder/last", loss)
    transform = losses.adversarial(CRITIC, "non_saturating", adaptive=adaptive)
    params |= transform.init(KEY, trace)
    got = transform.apply({}, params, trace, KEY)

    v, w = (np.asarray(params["critic"][name], np.float64) for name in ("v", "w"))
    out = hidden @ kernel
    mean = 1 / (1 + np.exp(-out)) if likelihood == "bernoulli" else out
    chain = mean * (1 - mean) if likelihood == "bernoulli" else 1.0  # d mean / d out
    squashed = np.tanh(mean @ v)
    d = squashed @ w
    found = (-1 / (1 + np.exp(d)))[:, None] * (((1 - squashed**2) * w) @ v.T) * chain
    wanted = (mean - x) / (0.3**2 if likelihood == "normal" else 1.0)
    if loss == "feature":
        wanted = (mean - x) @ v @ v.T * chain
    weight = np.linalg.norm(hidden.T @ wanted / N) / (np.linalg.norm(hidden.T @ found / N) + 1e-6)
    assert not 0.9 < weight < 1.1
    np.testing.assert_allclose(
        got["generator_balanced"], weight * np.asarray(got["generator"]), rtol=1e-4
    )


def test_the_adaptive_weight_is_a_constant_that_pulls_as_hard_as_the_loss():
    """The decoder's gradient is λ times the generator's, and as long as nll's at the last layer."""
    options = {"objective": "hinge", "likelihood": "normal"}
    layer = {"layer": "decoder/Dense_1/kernel", "loss": "nll"}

    @jax.jit
    def all_of_them(params):
        balanced = vae_gan(decoder={"generator_balanced": 1.0}, adaptive=layer, **options)
        named, _ = game.losses_and_trace(balanced)(params, BATCH, KEY, STEP)
        return named["generator_balanced"] / named["generator"], *(
            gradient_of(family, params)["decoder"]
            for family in (
                balanced,
                vae_gan(decoder={"generator": 1.0}, **options),
                vae_gan(decoder={"generator": 1.0}, prior_samples=False, **options),
                vae_gan(decoder={"nll": 1.0}, **options),
            )
        )

    weight, got, plain, reconstructed, nll = all_of_them(some_params())
    np.testing.assert_allclose(weight, weight[0], rtol=1e-5)
    assert not 0.9 < weight[0] < 1.1
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, weight[0] * b, rtol=1e-4, atol=1e-5), got, plain
    )
    a, b = (np.linalg.norm(g["Dense_1"]["kernel"]) for g in (reconstructed, nll))
    np.testing.assert_allclose(weight[0] * a, b, rtol=1e-4)


def test_without_prior_samples_reconstructions_are_the_only_fakes():
    trace = some_trace(generated=False)
    transform = losses.adversarial(CRITIC, "hinge", prior_samples=False, group="other")
    params = transform.init(KEY, trace)
    got = transform.apply({}, params, trace, KEY)
    d, _ = in_numpy(params["other"], trace.likelihood.mean)
    np.testing.assert_allclose(got["gan_fake"], np.maximum(0, 1 + d), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got["generator"], -d, rtol=1e-5, atol=1e-6)
    assert "other_accuracy" in got


def test_the_condition_of_a_trace_is_shown_to_the_critic():
    trace = some_trace()._replace(condition=jnp.arange(float(N))[:, None])
    conditional = Network(
        CRITIC.init, lambda params, x, c: (verdict(params, x)[0] + c[:, 0], flat(x))
    )
    conditional = conditional._replace(init=lambda key, x, c: CRITIC.init(key, x))
    transform = losses.adversarial(conditional, "hinge", r1=True)
    params = transform.init(KEY, trace)
    got = transform.apply({}, params, trace, KEY)
    d = sum(in_numpy(params["critic"], q.mean)[0] for q in (trace.likelihood, trace.generated))
    np.testing.assert_allclose(got["generator"], -d - 2 * np.arange(N), rtol=1e-5, atol=1e-5)


def test_errors_name_the_culprit_and_the_remedy():
    trace = some_trace(generated=False)
    transform = losses.adversarial(CRITIC)
    with pytest.raises(ValueError, match="generated=True, or the adversary with prior_samples="):
        transform.apply({}, transform.init(KEY, trace), trace, KEY)
    with pytest.raises(ValueError, match=r"unknown objective of the adversary 'hing'.*'hinge'"):
        losses.adversarial(CRITIC, "hing")
    with pytest.raises(ValueError, match=r"balance the generator with 'kl' \(known: feature, nll"):
        losses.adversarial(CRITIC, adaptive=losses.Adaptive(None, "decoder", "kl"))
    params = {"decoder": {"Conv_2": {"kernel": jnp.ones(2)}}}
    for path, message in (
        ("decoder/Conv_3/kernel", r"unknown 'Conv_3' \(known: Conv_2\); did you mean 'Conv_2'"),
        ("decoder/Conv_2", r"ends before a leaf, at \['kernel'\]"),
        ("decoder/Conv_2/kernel/0", "unknown '0'"),
    ):
        with pytest.raises(ValueError, match=message):
            losses.gradient_ratio(params, path, None, None)
    with pytest.raises(ValueError, match=r"images of shape \(H, W, C\), found events of shape"):
        families.vae_gan((5,), {}, network=MLP)


def test_a_delayed_adversary_is_none_before_it_begins():
    late, params = schedule({"kind": "delayed", "value": -2.0, "begin": 7}), some_params()

    def decoders(weight, step):
        family = vae_gan(decoder={"feature": 1.0, "gan": weight})
        return gradient_of(family, params, step=step)["decoder"]

    with_schedule, with_number = jax.jit(lambda step: decoders(late, step)), jax.jit(decoders)
    for step, weight in ((0, 0.0), (6, 0.0), (7, -2.0), (10**6, -2.0)):
        now = jnp.int32(step)
        assert float(late(now)) == weight
        jax.tree.map(np.testing.assert_array_equal, with_schedule(now), with_number(weight, now))
    assert float(schedule({"kind": "delayed", "value": 1, "begin": 2, "before": 0.5})(1)) == 0.5


def waits_by_the_authors_code(real, fake, equilibrium, margin):
    """Who waits, transcribed: (decoder, critic)."""
    decoder, critic = True, True
    if real < equilibrium - margin or fake < equilibrium - margin:
        critic = False
    if real > equilibrium + margin or fake > equilibrium + margin:
        decoder = False
    if not (decoder or critic):
        decoder = critic = True
    return not decoder, not critic


@pytest.mark.parametrize("who", ["decoder", "critic"])
def test_a_player_too_far_ahead_waits_and_its_optimizer_with_it(who):
    """It goes on as if the steps it missed had never been."""
    inner = optax.adam(0.1)
    tx = balance.freeze_when_ahead(inner, "high" if who == "decoder" else "low", margin=0.3)
    draw = np.random.RandomState(0)
    params = want = {"a": jnp.ones(3), "b": jnp.zeros((2, 2))}
    state, want_state = tx.init(params), inner.init(params)
    seen = set()
    for _ in range(40):
        named = {name: jnp.asarray(draw.rand() + 0.4 * draw.rand(4), jnp.float32)
                 for name in ("gan_real", "gan_fake", "nll")}  # fmt: skip
        grads = jax.tree.map(lambda a: jnp.asarray(draw.randn(*a.shape), jnp.float32), params)
        waits = waits_by_the_authors_code(
            *(float(named[name].mean()) for name in ("gan_real", "gan_fake")), 0.68, 0.3
        )[who == "critic"]
        with jax.numpy_dtype_promotion("standard"):
            updates, state = tx.update(grads, state, params, losses=named, key=KEY, trace=None)
            if not waits:
                change, want_state = inner.update(grads, want_state, want)
                want = optax.apply_updates(want, change)
        params = optax.apply_updates(params, updates)
        jax.tree.map(np.testing.assert_array_equal, (params, state), (want, want_state))
        seen.add(waits)
    assert seen == {True, False}


def test_in_the_game_a_player_who_waits_keeps_parameters_and_state_while_the_others_move():
    settings = {
        name: {"minimizes": row, "learning_rate": 1e-3}
        for name, row in (("encoder", {"kl": 1.0, "feature": 1.0}),
                          ("decoder", {"feature": 0.3, "gan": -1.0}), ("critic", {"gan": 1.0}))
    }  # fmt: skip
    settings["critic"]["freeze"] = {"when": "low", "equilibrium": 1e6}
    settings["decoder"]["freeze"] = {"when": "high", "equilibrium": 1e6}
    family = families.vae_gan(
        SHAPE, optimizers.players(settings), latent_dim=2, network=MLP, critic=CRITIC
    )
    state = jax.jit(lambda: init_state(family, 0, BATCH))()
    after, _, ok = jax.jit(make_step(family))(state, BATCH, 0)
    assert ok
    for name in family.players:
        pairs = [(state.params[name], after.params[name])]
        pairs.append(tuple(s.opt_state.inner_states[name] for s in (state, after)))
        for old, new in pairs:
            leaves = zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True)
            same = [np.array_equal(a, b) for a, b in leaves]
            assert all(same) if name == "critic" else not any(same)


def test_freezing_refuses_unknown_names():
    with pytest.raises(ValueError, match=r"freezes when losses are 'lo' \(known: high, low\)"):
        balance.freeze_when_ahead(optax.sgd(0.1), "lo")
    tx = balance.freeze_when_ahead(optax.sgd(0.1), "low", losses=("gan_reel",))
    with pytest.raises(ValueError, match=r"'gan_reel'.*did you mean 'gan_real'"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)), losses={"gan_real": jnp.ones(3)})
    row = {"minimizes": {"gan": 1.0}, "learning_rate": 0.1, "freeze": {"wen": "low"}}
    with pytest.raises(ValueError, match=r"'freeze' has no setting 'wen'.*did you mean 'when'"):
        optimizers.players({"critic": row})
