"""A model combined with a prior learned over its latents: metrics and samples of both."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
import scipy.stats

from tests.random_params import random_params
from vaejax import families
from vaejax.core import game
from vaejax.core.game import Latent, Model, Trace, losses_and_trace
from vaejax.core.sharding import make_mesh
from vaejax.core.token_layout import CodeMap, Layout
from vaejax.data.readers.npz import from_arrays
from vaejax.distributions import Bernoulli, OneHotCodes, Uniform
from vaejax.evaluation.two_stage import two_stage_metrics
from vaejax.losses.metrics import trace_metrics
from vaejax.quantizers import vector
from vaejax.quantizers.token_layout import layout_of
from vaejax.training.two_stage import FirstStage

KEY = jax.random.key(0)
SHAPE = (8, 8, 1)
PRIOR = {"prior": ({"nll": 1.0}, optax.sgd(0.1))}
TRANSFORMER = {"kind": "transformer", "layers": 1, "width": 16, "heads": 2}
RNG = np.random.RandomState(0)
ARRAYS = {"image": RNG.randint(0, 256, (30, *SHAPE)).astype(np.uint8), "label": np.arange(30) % 3}
SOURCE = from_arrays(ARRAYS, "train", holdout=0.0)


def vqvae(likelihood):
    players = {"vae": ({"nll": 1.0}, optax.sgd(1.0)), "codebook": ({"vq": 1.0}, optax.sgd(1.0))}
    network = {"kind": "residual", "hidden": 8, "downsamplings": 2, "blocks": 1}
    return families.vqvae(
        SHAPE, players, quantizer=vector(5, 4), network=network, likelihood=likelihood
    )


def first_stage(family, layout):
    batch = SOURCE.decode(SOURCE.take(np.arange(30)))
    params = random_params(functools.partial(game.init, family), KEY, batch)
    return FirstStage(family, params, layout, make_mesh(1), 8, "none")


@pytest.fixture(scope="module")
def stages_of_codes():
    """A first stage, a prior over its codes, the prior's parameters, and the codes."""
    layout = Layout((CodeMap((2, 2), (), 5),))
    first = first_stage(vqvae("discretized_logistic"), layout)
    prior = families.code_prior((4,), PRIOR, layout=layout, network=TRANSFORMER, classes=3)
    tokens = first.latents(SOURCE)
    batch = tokens.decode(tokens.take(np.arange(30)))
    return (
        first,
        prior,
        random_params(functools.partial(game.init, prior), KEY, batch, noise=0.3),
        tokens,
    )


def test_first_stage_encodes_a_split_into_tokens(stages_of_codes):
    first, _, _, tokens = stages_of_codes
    batch = SOURCE.decode(SOURCE.take(np.arange(30)))
    (node,) = jax.jit(first.family.model.encode)(first.params, batch, KEY)
    np.testing.assert_array_equal(tokens.arrays["tokens"], node.posterior.indices.reshape(30, 4))
    np.testing.assert_array_equal(tokens.arrays["label"], np.arange(30) % 3)
    assert (tokens.size, tokens.num_classes, tokens.layout) == (30, 3, first.layout)
    decoded = tokens.decode(tokens.take(np.arange(3)))
    assert {name: a.dtype for name, a in decoded.items()} == dict.fromkeys(
        ("tokens", "label"), jnp.int32
    )


def test_metrics_of_the_joint_model_follow_from_its_parts(stages_of_codes):
    first, prior, params, tokens = stages_of_codes
    got = two_stage_metrics(first, prior, params, SOURCE)
    codes = tokens.decode(tokens.take(np.arange(30)))
    trace = jax.jit(prior.model.forward)(params, codes, KEY, None)
    logits = np.asarray(trace.likelihood.logits, "f8")
    log_p = np.take_along_axis(
        scipy.special.log_softmax(logits, -1), np.asarray(codes["tokens"])[..., None], -1
    ).sum((1, 2))
    batch = SOURCE.decode(SOURCE.take(np.arange(30)))

    @jax.jit
    def log_prob(params, batch):
        p = first.family.model.forward(params, batch, KEY, None).likelihood
        return p.log_prob(batch["image"])

    nll = -np.asarray(log_prob(first.params, batch), np.float64).sum((1, 2, 3)).mean()
    np.testing.assert_allclose(got["nll_codes"], -log_p.mean(), rtol=1e-5)
    np.testing.assert_allclose(got["nll"], nll, rtol=1e-5)
    np.testing.assert_allclose(got["elbo"], log_p.mean() - nll, rtol=1e-5)
    np.testing.assert_allclose(
        got["bits_per_dim"], (nll - log_p.mean()) / 64 / np.log(2), rtol=1e-5
    )
    np.testing.assert_allclose(got["bits_per_code"], -log_p.mean() / 4 / np.log(2), rtol=1e-5)
    uniform = 4 * np.log(5)
    np.testing.assert_allclose(got["elbo_gain"], log_p.mean() + uniform, rtol=1e-3, atol=1e-3)


def test_samples_are_decoded_codes_of_the_prior(stages_of_codes):
    first, prior, params, _ = stages_of_codes
    joint, joint_params = first.joint_family(prior), first.joint_params(params)
    condition = {"label": jnp.arange(12) % 3}
    settings = {"top_k": 2, "top_p": 0.9}
    generate = jax.jit(lambda p: joint.model.generate(p, KEY, 12, condition, 0.8, **settings))
    p = generate(joint_params)
    generate = jax.jit(lambda p: prior.model.generate(p, KEY, 12, condition, 0.8, **settings))
    codes = generate(params).mean
    z = np.asarray(first.params["codebook"])[np.asarray(codes).reshape(12, 2, 2)]
    want = jax.jit(first.family.model.decode)(first.params, (jnp.asarray(z),))
    np.testing.assert_allclose(p.mean, want.mean, atol=1e-5)
    assert len(np.unique(codes, axis=0)) > 3


VECTOR = {"kind": "vector", "codes": 5, "dim": 4}
QUANTIZERS = {  # family, quantizer, and the nodes' (places, trailing axes, size)
    "residual": ("vqvae", {"kind": "residual", "quantizer": VECTOR, "levels": 3}, [(2, 3, 5)]),
    "grouped": ("vqvae", {"kind": "grouped", "quantizer": VECTOR, "groups": 2}, [(2, 2, 5)]),
    "levels": ("vqvae2", VECTOR, [(2, 0, 5), (4, 0, 5)]),
}


@pytest.mark.parametrize(
    "name", [n if n == "levels" else pytest.param(n, marks=pytest.mark.slow) for n in QUANTIZERS]
)
def test_decoding_through_tokens_equals_decoding_z(name):
    """For every kind of code."""
    kind, quantizer, nodes = QUANTIZERS[name]
    books = ["codebook_0", "codebook_1"] if kind == "vqvae2" else ["codebook"]
    players = {"vae": ({"nll": 1.0}, optax.sgd(1.0))}
    players |= {book: ({"vq": 1.0}, optax.sgd(1.0)) for book in books}
    network = {"hidden": 8, "blocks": 1}
    options = {"network": network}
    if kind == "vqvae":
        options = {"network": {"kind": "residual", "downsamplings": 2, **network}}
    else:
        options |= {"downsamplings": (1, 1)}
    family = getattr(families, kind)(SHAPE, players, quantizer=quantizer, **options)
    batch = SOURCE.decode(SOURCE.take(np.arange(30)))
    params = jax.jit(lambda: game.init(family, KEY, batch))()  # k-means spreads the codes
    encoded = jax.jit(family.model.encode)(params, batch, KEY)
    layout = layout_of(encoded)
    want = [CodeMap((side, side), (axis,) if axis else (), size) for side, axis, size in nodes]
    assert layout == Layout(tuple(want))

    @jax.jit
    def both(params, latents):
        tokens = layout.flatten([node.posterior.indices for node in latents])
        zs = family.model.embed(params, layout.split(tokens))
        direct = family.model.decode(params, tuple(node.z for node in latents))
        return direct.mean, family.model.decode(params, zs).mean, tokens

    direct, from_tokens, tokens = both(params, encoded)
    assert tokens.shape == (30, layout.length)
    assert len(np.unique(tokens)) > 3
    np.testing.assert_allclose(from_tokens, direct, atol=1e-5)
    assert np.ptp(direct, axis=0).max() > 1e-3


def two_levels():
    """A model of two nodes, the lower with two codes per position, that decodes to its codes."""
    sizes = (3, 4)

    def latents(batch):
        x = batch["image"].reshape(-1, 64)
        top = (x[:, :2] * 2.99).astype(jnp.int32)
        low = (x[:, 2:14] * 3.99).astype(jnp.int32).reshape(-1, 3, 2, 2)
        z = jnp.zeros((len(x), 2, 1)), jnp.zeros((len(x), 3, 2, 1))
        pairs = zip(z, (top, low), sizes, strict=True)
        return tuple(
            Latent(OneHotCodes(z, z, i, size), Uniform(size, i.shape), z) for z, i, size in pairs
        )

    def embed(params, indices):
        return tuple(i.astype(jnp.float32) for i in indices)

    def decode(params, zs, condition=None):
        n = len(zs[0])
        return Bernoulli(jnp.concatenate([z.reshape(n, -1) for z in zs], 1) * params["scale"])

    def forward(params, batch, key, step):
        nodes = latents(batch)
        p = decode(params, embed(params, [node.posterior.indices for node in nodes]))
        return Trace(batch["image"].reshape(-1, 64)[:, :14], p, nodes)

    def encode(params, batch, key):
        return latents(batch)

    return Model(lambda key, batch: {}, forward, encode, decode, None, embed)


@pytest.mark.slow
def test_the_codes_of_all_nodes_form_one_sequence():
    layout = Layout((CodeMap((2,), (), 3), CodeMap((3, 2), (2,), 4)))
    first = game.Family(two_levels(), game.chain(), {})
    prior = families.code_prior((14,), PRIOR, layout=layout, network=TRANSFORMER)
    batch = {"image": jnp.asarray(RNG.rand(6, *SHAPE), jnp.float32)}
    first_stage = FirstStage(first, {"scale": jnp.ones(())}, layout, make_mesh(1), 6, "none")
    joint = first_stage.joint_family(prior)

    @jax.jit
    def tokens_of(batch):
        nodes = first.model.encode({}, batch, KEY)
        return layout.flatten([node.posterior.indices for node in nodes])

    tokens = tokens_of(batch)
    params = random_params(functools.partial(game.init, prior), KEY, {"tokens": tokens})
    joint_params = first_stage.joint_params(params)
    losses, trace = jax.jit(losses_and_trace(joint))(joint_params, batch, KEY, jnp.int32(0))
    of_prior, _ = jax.jit(losses_and_trace(prior))(params, {"tokens": tokens}, KEY, jnp.int32(0))
    assert losses["kl"].shape == (6, 2)
    np.testing.assert_allclose(losses["kl"].sum(1), of_prior["nll"], rtol=1e-5)
    assert [node.prior.logits.shape for node in trace.latents] == [(6, 2, 3), (6, 3, 2, 2, 4)]
    assert {"kl/0", "kl/1", "elbo"} <= trace_metrics(losses, trace).keys()
    p = jax.jit(lambda p: joint.model.generate(p, KEY, 9, None, 1.0))(joint_params)
    codes = jax.jit(lambda p: prior.model.generate(p, KEY, 9, None, 1.0).mean)(params)
    np.testing.assert_array_equal(p.logits, codes)
    assert np.asarray(codes)[:, :2].max() <= 2


def test_a_gaussian_mixture_as_the_prior_of_a_vae():
    players = {"vae": ({"nll": 1.0, "kl": 1.0}, optax.sgd(1.0))}
    network = {"kind": "mlp", "hidden": (8,)}
    family = families.beta_vae(SHAPE, players, latent_dim=3, network=network, likelihood="normal")
    first = first_stage(family, None)
    vectors = first.latents(SOURCE)
    assert vectors.arrays["vector"].shape == (30, 3)
    prior = families.gaussian_mixture((3,), PRIOR, components=2)
    batch = vectors.decode(vectors.take(np.arange(30)))
    params = random_params(functools.partial(game.init, prior), KEY, batch)
    joint, joint_params = first.joint_family(prior), first.joint_params(params)
    images = SOURCE.decode(SOURCE.take(np.arange(30)))
    losses, trace = jax.jit(losses_and_trace(joint))(joint_params, images, KEY, jnp.int32(0))
    q, z = trace.latents[0].posterior, np.asarray(trace.latents[0].z)
    log_q = scipy.stats.norm.logpdf(z, q.loc, q.scale).sum(1)
    log_p = jax.jit(lambda params, z: prior.model.decode(params, ()).log_prob(z))(params, z)
    np.testing.assert_allclose(losses["kl"][:, 0], log_q - log_p, rtol=1e-4, atol=1e-4)
    got = two_stage_metrics(first, prior, params, SOURCE)
    assert "bits_per_code" not in got
    assert np.isfinite(got["elbo_gain"])

    @jax.jit
    def samples(params, first_params, joint_params):
        z = prior.model.generate(params, KEY, 5, None, 1.0).mean
        want = family.model.decode(first_params, (z,)).mean
        return joint.model.generate(joint_params, KEY, 5, None, 1.0).mean, want

    got, want = samples(params, first.params, joint_params)
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_invalid_arguments_are_reported():
    with pytest.raises(ValueError, match=r"shape \(28, 28, 1\): .*--config.first_stage=WORKDIR"):
        families.code_prior((28, 28, 1), PRIOR)
    layout = Layout((CodeMap((2, 2), (), 5),))
    prior = families.code_prior((4,), PRIOR, layout=layout, network=TRANSFORMER)
    with pytest.raises(ValueError, match="no latents: it decodes a batch of tokens"):
        prior.model.decode({}, ())
