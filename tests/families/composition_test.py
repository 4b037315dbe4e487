"""Unpublished combinations of parts train: losses stay finite and decrease.

Each row names a bottleneck, a prior, a chain and a table.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vaejax import losses, networks, quantizers
from vaejax.core import conditions, schedules
from vaejax.core.game import Family, Player, chain
from vaejax.data import load
from vaejax.distributions import Normal
from vaejax.distributions.likelihoods import likelihood
from vaejax.latents import bottlenecks, priors
from vaejax.models import autoencoder
from vaejax.optimizers.ema_codebook import ema_codebook
from vaejax.training.train_step import init_state, make_step

SHAPE, LATENTS, STEPS = (16, 16, 1), 6, 50
ELBO = {"nll": 1.0, "kl": 1.0}


@pytest.fixture(scope="module")
def batch():
    source = load("sprites:small")
    rows = source.take(np.random.default_rng(0).choice(source.size, 32, replace=False))
    images = source.decode({k: jnp.asarray(v) for k, v in rows.items()})
    small = images["image"].reshape(32, 16, 4, 16, 4, 1).mean((2, 4))
    return {"image": jnp.round(small), "label": images["label"]}


def adam(*owns, rate=2e-3, **minimizes):
    return Player(owns, minimizes, optax.adam(rate))


def gaussian(**options):
    return bottlenecks.gaussian(LATENTS), options


def codes(quantizer=None, **options):
    quantizer = quantizer or quantizers.vector(32, 8, kmeans_iterations=3)
    return quantizers.bottleneck(quantizer, width=8), options


def latent_discriminator():
    return networks.latent_discriminator((32, 32))


def image_discriminator():
    return networks.image_discriminator(channels=(8, 16), hidden=32)


def gmm_prior():
    return priors.mixture(4)


def class_prior():
    inner, _ = networks.build({"kind": "mlp", "hidden": (16,)}, (3,), 2 * LATENTS, 1)
    return priors.conditional(inner)


GAN_ROWS = {
    "decoder": adam("decoder", nll=1.0, gan=-0.1),
    "discriminator": adam("discriminator", gan=1.0, rate=2e-4),
}
TC = {"nll": 1.0, "mi": 1.0, "tc": 4.0, "dimwise_kl": 1.0}
VQ = {"codebook": Player(("codebook",), {"vq": 1.0}, ema_codebook(revive_below=0.01))}

# name: (bottleneck and model options, further losses, players)
GRID = {
    "β-TC + GAN": lambda: (
        gaussian(generated=True),
        [losses.decomposition(1000), losses.adversarial(image_discriminator())],
        {"encoder": adam("encoder", **TC), **GAN_ROWS},
    ),
    "MMD + conditional prior": lambda: (
        gaussian(prior=class_prior(), condition=conditions.label(3)),
        [losses.mmd()],
        {"vae": adam("encoder", "decoder", "prior", **ELBO, mmd=10.0)},
    ),
    "vector quantizer + adversary": lambda: (
        codes(generated=True),
        [losses.vq(), losses.adversarial(image_discriminator())],
        {"encoder": adam("encoder", nll=1.0, vq=0.25), **GAN_ROWS, **VQ},
    ),
    "free bits + spike-and-slab": lambda: (
        (bottlenecks.spike_and_slab(LATENTS), {}),
        [losses.free_bits(0.5)],
        {"vae": adam("encoder", "decoder", nll=1.0, kl_free=1.0)},
    ),
    "GECO + discriminator TC": lambda: (
        gaussian(),
        [losses.geco(30.0), losses.total_correlation(latent_discriminator())],
        {
            "vae": adam("encoder", "decoder", kl=1.0, geco=1.0, tc=2.0),
            "multiplier": adam("geco", geco=-1.0, rate=1e-2),
            "discriminator": adam("discriminator", discriminator_loss=1.0),
        },
    ),
    "DIP + mixture prior": lambda: (
        gaussian(prior=gmm_prior()),
        [losses.dip("ii")],
        {"vae": adam("encoder", "decoder", "prior", **ELBO, dip_off_diagonal=2.0, dip_diagonal=1)},
    ),
    "IWAE + mixture prior": lambda: (
        gaussian(prior=gmm_prior(), samples=3),
        [losses.iwae(3), losses.dreg(3)],
        {"encoder": adam("encoder", dreg=1.0), "decoder": adam("decoder", "prior", iwae=1.0)},
    ),
    "capacity + condition": lambda: (
        gaussian(condition=conditions.label(3)),
        [losses.capacity(schedules.linear(0.0, 10.0, 100))],
        {"vae": adam("encoder", "decoder", nll=1.0, kl_capacity=10.0)},
    ),
    "vector quantizer + GECO": lambda: (
        codes(),
        [losses.vq(), losses.geco(20.0)],
        {
            "vae": adam("encoder", "decoder", vq=0.25, geco=1.0),
            "multiplier": adam("geco", geco=-1.0, rate=1e-2),
            **VQ,
        },
    ),
    "discriminator TC + VampPrior": lambda: (
        gaussian(prior=priors.vamp(5, SHAPE)),
        [losses.total_correlation(latent_discriminator())],
        {
            "vae": adam("encoder", "decoder", "prior", **ELBO, tc=2.0),
            "discriminator": adam("discriminator", discriminator_loss=1.0),
        },
    ),
    "MMD + spike-and-slab": lambda: (
        (bottlenecks.spike_and_slab(LATENTS), {}),
        [losses.mmd(kernel="imq")],
        {"vae": adam("encoder", "decoder", **ELBO, mmd=5.0)},
    ),
    "hybrid GSNN + free bits + MMD": lambda: (
        gaussian(prior=class_prior(), condition=conditions.label(3), generated=True),
        [losses.gsnn(), losses.free_bits(0.2, per="dimension"), losses.mmd()],
        {"vae": adam("encoder", "decoder", "prior", nll=0.5, kl_free=0.5, gsnn=0.5, mmd=1.0)},
    ),
    "conditional quantizer": lambda: (
        codes(condition=conditions.label(3)),
        [losses.vq()],
        {"vae": adam("encoder", "decoder", nll=1.0, vq=0.25), **VQ},
    ),
    "finite scalars + adversary": lambda: (
        codes(quantizers.finite_scalar((5, 5, 5)), generated=True),
        [losses.adversarial(image_discriminator())],
        {"encoder": adam("encoder", "projection", nll=1.0), **GAN_ROWS},
    ),
    "lookup-free + conditional": lambda: (
        codes(quantizers.lookup_free(8), condition=conditions.label(3)),
        [losses.code_entropies()],
        {"vae": adam("encoder", "decoder", nll=1.0, token_entropy=0.1, usage_entropy=-0.1)},
    ),
    "residual, rotated + GECO": lambda: (
        codes(quantizers.residual(quantizers.vector(16, 8), 2, gradient="rotation")),
        [losses.vq(), losses.geco(20.0)],
        {
            "vae": adam("encoder", "decoder", vq=0.25, geco=1.0),
            "multiplier": adam("geco", geco=-1.0, rate=1e-2),
            **VQ,
        },
    ),
    "β-TC + conditional + two samples": lambda: (
        gaussian(prior=class_prior(), condition=conditions.label(3), samples=2),
        [losses.decomposition(1000, "stratified")],
        {"vae": adam("encoder", "decoder", "prior", **TC)},
    ),
}


def make(name):
    (bottleneck, options), extra, players = GRID[name]()
    network = {"kind": "residual", "hidden": 16, "block_hidden": 8, "blocks": 1}
    if isinstance(bottleneck, bottlenecks.Bottleneck) and bottleneck.width != 8:
        network = {"kind": "mlp", "hidden": (64,)}
    p = likelihood("bernoulli")
    encoder, decoder = networks.build(network, SHAPE, bottleneck.width, p.width(1))
    model = autoencoder(encoder, bottleneck, decoder, p, SHAPE, **options)
    return Family(model, chain(losses.nll(), losses.kl(), *extra), players)


def test_the_grid_is_large_enough():
    assert len(GRID) >= 12


# The others are slow tests. tests/latents/priors_test.py trains mixtures and VampPriors.
_DEFAULT = {"free bits + spike-and-slab"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n in _DEFAULT else [pytest.mark.slow]) for n in GRID],
)
def test_combinations_train(name, batch):
    family = make(name)
    state = jax.jit(lambda batch: init_state(family, 0, batch))(batch)
    step = jax.jit(make_step(family))
    history = []
    for _ in range(STEPS):
        state, metrics, ok = step(state, batch, 0)
        assert bool(ok)
        history.append({k: float(v) for k, v in metrics.items()})
    assert all(np.isfinite(v) for metrics in history for v in metrics.values())
    # Every combination minimises nll in some form.
    early, late = (np.mean([h["nll"] for h in part]) for part in (history[:5], history[-5:]))
    assert late < 0.8 * early
    assert not isinstance(family.model.generate(state.params, jax.random.key(0), 2), Normal)
