"""IWAE and DReG in a linear Gaussian model, whose log p(x) is known."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
import scipy.stats

from vaejax import families, losses
from vaejax.core import game
from vaejax.core.game import Latent, Trace
from vaejax.distributions import Bernoulli, Normal, OneHotCodes, Uniform
from vaejax.distributions.likelihoods import Likelihood
from vaejax.latents import priors
from vaejax.latents.bottlenecks import gaussian
from vaejax.models import autoencoder
from vaejax.networks import Network

KEY = jax.random.key(0)
STEP = jnp.int32(0)
NOISE = 0.5
W = np.array([[1.0, 0.3], [-0.4, 0.8], [0.2, 0.5]])
BATCH = {"vector": jnp.asarray([[0.5, -1.0, 2.0], [1.0, 1.0, 0.0]], jnp.float32)}


def linear_gaussian(samples=1, prior=None):
    """x = W z + noise, with q(z | x) near the posterior but not equal to it."""
    posterior_mean = np.linalg.solve(W.T @ W + NOISE**2 * np.eye(2), W.T)
    kernel = np.concatenate([0.8 * posterior_mean.T, np.zeros((3, 2))], axis=1)
    bias = np.array([0.1, -0.1, -1.0, -1.2])
    params = {"kernel": jnp.asarray(kernel, jnp.float32), "bias": jnp.asarray(bias, jnp.float32)}
    encoder = Network(
        lambda key, x: params, lambda params, x: x @ params["kernel"] + params["bias"][None]
    )
    decoder = Network(
        lambda key, z: jnp.asarray(W.T, jnp.float32), lambda params, z: jnp.matmul(z, params)
    )
    likelihood = Likelihood(lambda c: c, lambda f: Normal(f, jnp.full_like(f, NOISE)))
    return autoencoder(
        encoder, gaussian(2), decoder, likelihood, (3,), prior=prior, samples=samples
    )


def exact_log_p():
    covariance = W @ W.T + NOISE**2 * np.eye(3)
    return scipy.stats.multivariate_normal.logpdf(BATCH["vector"], np.zeros(3), covariance)


def losses_of(model, samples):
    chain = game.chain(losses.nll(), losses.kl(), losses.iwae(samples), losses.dreg(samples))

    def losses_fn(params, key):
        trace = model.forward(params, BATCH, key, STEP)
        return chain.apply({}, {}, trace, key), trace

    return jax.jit(losses_fn)


def log_weights(trace, samples):
    """By SciPy, `[B, K]`."""
    ((q, _, z),) = trace.latents
    z = np.asarray(z, np.float64)
    log_w = scipy.stats.norm.logpdf(trace.x, z @ W.T, NOISE).sum(1)
    log_w += scipy.stats.norm.logpdf(z).sum(1) - scipy.stats.norm.logpdf(z, q.loc, q.scale).sum(1)
    return log_w.reshape(-1, samples)


def test_the_loss_is_minus_the_log_mean_weight_repeated_for_each_sample():
    model = linear_gaussian(4)
    named, trace = losses_of(model, 4)(model.init(KEY, BATCH), KEY)
    np.testing.assert_array_equal(trace.x, np.repeat(BATCH["vector"], 4, axis=0))
    want = -(scipy.special.logsumexp(log_weights(trace, 4), axis=1) - np.log(4))
    for name in ("iwae", "dreg"):
        np.testing.assert_allclose(named[name], np.repeat(want, 4), rtol=1e-5)


def test_with_one_sample_it_is_the_sampled_elbo():
    model = linear_gaussian(1)
    named, trace = losses_of(model, 1)(model.init(KEY, BATCH), KEY)
    np.testing.assert_allclose(named["iwae"], -log_weights(trace, 1)[:, 0], rtol=1e-5)


def test_the_bound_rises_with_the_samples_to_the_exact_likelihood():
    exact, bounds, errors = exact_log_p().mean(), [], []
    for samples in (1, 5, 50, 2000):
        model = linear_gaussian(samples)
        params, losses_fn = model.init(KEY, BATCH), losses_of(model, samples)
        keys = jax.random.split(KEY, 8_000 // samples)
        bound = jax.jit(jax.vmap(lambda k: -losses_fn(params, k)[0]["iwae"].mean()))  # noqa: B023
        values = np.asarray(bound(keys), np.float64)
        bounds.append(values.mean())
        errors.append(values.std() / np.sqrt(len(values)))
    for i in range(2):
        assert bounds[i + 1] - bounds[i] > 4 * np.hypot(errors[i], errors[i + 1]), (bounds, errors)
    assert bounds[0] < exact - 0.2
    assert abs(bounds[3] - exact) < 4 * errors[3] + 1e-3


PRIORS = {"standard": None, "vamp": priors.vamp(3, (3,), squash=False)}


@pytest.mark.parametrize("prior", PRIORS)
def test_dreg_has_iwaes_gradient_on_average_with_less_noise(prior):
    """For the parameters of the encoder, also with a prior that uses the encoder, and the prior."""
    samples, model = 8, linear_gaussian(8, PRIORS[prior])
    params = model.init(KEY, BATCH)
    losses_fn = losses_of(model, samples)
    groups = [g for g in ("encoder", "prior") if g in params]

    def gradient(name):
        def of_key(key):
            def loss(subset):
                return losses_fn(params | subset, key)[0][name].mean()

            return jax.grad(loss)({group: params[group] for group in groups})

        grads = jax.jit(jax.vmap(of_key))(jax.random.split(KEY, 8_000))
        return {g: np.concatenate([np.asarray(leaf, np.float64).reshape(8_000, -1)
                for leaf in jax.tree.leaves(grads[g])], axis=1) for g in groups}  # fmt: skip

    iwae, dreg = gradient("iwae"), gradient("dreg")
    for group in groups:
        difference = iwae[group] - dreg[group]  # for the same samples
        error = difference.std(0) / np.sqrt(len(difference)) + 1e-7
        assert (np.abs(difference.mean(0)) < 4.5 * error).all(), group
        assert np.abs(dreg[group].mean(0)).max() > 0.05
    assert dreg["encoder"].var(0).sum() < 0.7 * iwae["encoder"].var(0).sum()


def test_the_game_of_dreg_and_iwae_has_the_gradient_written_by_hand():
    samples, model = 5, linear_gaussian(5)
    params = model.init(KEY, BATCH)
    chain = game.chain(losses.nll(), losses.kl(), losses.iwae(samples), losses.dreg(samples))
    table = {
        "encoder": game.Player(("encoder",), {"dreg": 1.0}, optax.sgd(1.0)),
        "decoder": game.Player(("decoder",), {"iwae": 1.0}, optax.sgd(1.0)),
    }
    losses_fn = game.losses_and_trace(game.Family(model, chain, table))
    gradient = jax.jit(game.game_gradient(losses_fn, table))
    grads, _, trace = gradient(params, STEP, BATCH, KEY, STEP)

    ((q, _, z),) = trace.latents
    x, noise = trace.x, (z - q.loc) / q.scale

    def log_w(z, decoder, loc, scale):  # [B · K]
        log_p = jax.scipy.stats.norm.logpdf(x, z @ decoder, NOISE).sum(1)
        log_p += jax.scipy.stats.norm.logpdf(z).sum(1)
        return log_p - jax.scipy.stats.norm.logpdf(z, loc, scale).sum(1)

    def samples_of(encoder):
        loc, log_variance = jnp.split(x @ encoder["kernel"] + encoder["bias"][None], 2, axis=1)
        return loc + jnp.exp(log_variance / 2) * noise

    @jax.jit
    def by_hand(params):
        w = jax.nn.softmax(log_w(z, params["decoder"], q.loc, q.scale).reshape(-1, samples), axis=1)
        w = w.reshape(-1)[:, None]
        to_z = jax.grad(lambda z: log_w(z, params["decoder"], q.loc, q.scale).sum())(z)
        _, pull = jax.vjp(samples_of, params["encoder"])
        (encoder,) = pull(-(w**2) * to_z / 2)  # the mean over two examples
        decoder = jax.grad(lambda d: -(w[:, 0] * log_w(z, d, q.loc, q.scale)).sum() / 2)
        return encoder, decoder(params["decoder"])

    encoder, decoder = by_hand(params)
    for name, value in encoder.items():
        np.testing.assert_allclose(grads["encoder"][name], value, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(grads["decoder"], decoder, rtol=1e-4, atol=1e-6)


def test_the_family_minimises_dreg_with_the_encoder_and_iwae_with_all_else():
    players = {
        "encoder": ({"dreg": 1.0}, optax.adam(1e-3)),
        "decoder": ({"iwae": 1.0}, optax.adam(1e-3)),
    }
    prior = {"kind": "mixture", "components": 2}
    family = families.iwae(
        (3,), players, latent_dim=2, network={"kind": "mlp", "hidden": (4,)}, prior=prior, samples=3
    )
    params = jax.jit(lambda: game.init(family, KEY, BATCH))()
    assert game.owner_labels(family.players) == {
        "encoder": "encoder",
        "decoder": "decoder",
        "prior": "decoder",
    }
    trace = jax.eval_shape(family.model.forward, params, BATCH, KEY, STEP)
    assert trace.latents[0].prior.logits.shape == (2,)  # not repeated for each sample
    sample = jax.eval_shape(lambda prior: prior.sample(KEY), trace.latents[0].prior)
    assert sample.shape == trace.latents[0].z.shape == (6, 2)


def test_invalid_traces_are_reported():
    model = linear_gaussian(4)
    params = model.init(KEY, BATCH)
    trace = jax.jit(model.forward)(params, BATCH, KEY, STEP)
    for loss in (losses.iwae, losses.dreg):
        chain = game.chain(losses.nll(), loss(3))
        match = rf"'{loss.__name__}' needs 3 samples.*8 rows.*samples=3 too"
        with pytest.raises(ValueError, match=match):
            chain.apply({}, {}, trace, KEY)
    codes = OneHotCodes(jnp.zeros((4, 2)), jnp.zeros((4, 2)), jnp.zeros(4, jnp.int32), 8)
    p = Bernoulli(jnp.zeros((4, 1)))
    trace = Trace(jnp.zeros((4, 1)), p, (Latent(codes, Uniform(8, (4,)), codes.codes),))
    with pytest.raises(ValueError, match="needs a posterior with a density"):
        game.chain(losses.nll(), losses.iwae(2)).apply({}, {}, trace, KEY)
    q = Normal(jnp.zeros((4, 2)), jnp.ones((4, 2)))
    trace = Trace(jnp.zeros((4, 1)), p, (Latent(q, q, q.loc), Latent(q, q, q.loc)))
    game.chain(losses.nll(), losses.iwae(2)).apply({}, {}, trace, KEY)
    with pytest.raises(ValueError, match="'dreg' is for one node, found 2"):
        game.chain(losses.nll(), losses.dreg(2)).apply({}, {}, trace, KEY)
