"""The table of families that every property in this folder is tested on.

A new family is one entry: what makes it (tiny networks), its loss written by hand as its paper has
it (one scalar, with stop-gradients where the paper writes them), whether it uses random keys, and
whether a loss compares the examples of a batch, so that half a batch is not half of the work.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

from vaejax import codebooks, families, networks
from vaejax.data import load
from vaejax.game import Family
from vaejax.quantizers import vector
from vaejax.training.state import init_state, make_step

SHAPE = (16, 16, 1)
BATCH, STEPS = 32, 20
CODES, DIM = 256, 16
MLP = {"kind": "mlp", "hidden": (16,)}


def adam():
    return optax.adam(2e-3, eps=1e-4)


def sums(x):
    return x.reshape(x.shape[0], -1).sum(axis=1)


def bernoulli_nll(logits, x):
    return sums(jnp.logaddexp(logits, 0.0) - logits * x)


def dense(p, x):
    hidden, out = p["Dense_0"], p["Dense_1"]
    x = jax.nn.relu(x.reshape(len(x), -1) @ hidden["kernel"] + hidden["bias"][None])
    return x @ out["kernel"] + out["bias"][None]


def gaussian_terms(params, x, trace):
    """Of a VAE with the networks `MLP`: mean nll and mean KL."""
    loc, log_variance = jnp.split(dense(params["encoder"], x), 2, axis=1)
    node = trace.latents[0]
    noise = (node.z - node.posterior.loc) / node.posterior.scale
    z = loc + jnp.exp(log_variance / 2) * noise
    kl = 0.5 * (loc**2 + jnp.exp(log_variance) - 1 - log_variance).sum(axis=1)
    return bernoulli_nll(dense(params["decoder"], z), x.reshape(len(x), -1)).mean(), kl.mean()


def beta_vae_reference(params, x, trace, step):
    nll, kl = gaussian_terms(params, x, trace)
    return nll + 4 * kl


def capacity_reference(params, x, trace, step):
    nll, kl = gaussian_terms(params, x, trace)
    return nll + 10 * jnp.abs(kl - 5 * step / 100)


class Patches(linen.Module):
    """A dense network on each of 4 × 4 patches, into features or back."""

    out: int
    back: bool = False

    @linen.compact
    def __call__(self, x):
        if not self.back:
            x = x.reshape(-1, 4, 4, 4, 4).swapaxes(2, 3).reshape(-1, 4, 4, 16)
        x = linen.Dense(self.out)(jax.nn.relu(linen.Dense(32)(x)))
        return x.reshape(-1, 4, 4, 4, 4).swapaxes(2, 3).reshape(-1, *SHAPE) if self.back else x


PATCHES = networks.from_linen(Patches(DIM)), networks.from_linen(Patches(16, back=True))
RESIDUAL = networks.build(
    {"kind": "residual", "hidden": 16, "blocks": 1, "block_hidden": 16, "form": "native"},
    SHAPE,
    DIM,
    1,
)


def vqvae_reference(pair):
    def reference(params, x, trace, step):
        encoder, decoder = pair
        sg = jax.lax.stop_gradient
        z_e = encoder.apply(params["encoder"], x)
        gap = z_e[..., None, :] - params["codebook"][None, None, None]
        e = params["codebook"][(gap**2).sum(-1).argmin(-1)]
        logits = decoder.apply(params["decoder"], z_e + sg(e - z_e))
        codebook, commitment = sums((sg(z_e) - e) ** 2), sums((z_e - sg(e)) ** 2)
        return (bernoulli_nll(logits, x) + codebook + 0.25 * commitment).mean()

    return reference


def beta_vae(minimizes, **options):
    players = {"vae": (minimizes, adam())}
    return families.beta_vae(SHAPE, players, latent_dim=4, network=MLP, **options)


def vqvae(network, codebook):
    players = {"vae": ({"nll": 1, "vq": 0.25}, adam()), "codebook": ({"vq": 1}, codebook)}
    options = {"network": network, "likelihood": "bernoulli"}
    return families.vqvae(SHAPE, players, quantizer=vector(CODES, DIM), **options)


def info_vae():
    players = {"vae": ({"nll": 1, "kl": 0.75, "mmd": 40.0}, adam())}
    mmd = {"kernel": "imq", "scales": (0.5, 2.0), "estimator": "unbiased"}
    return families.info_vae(SHAPE, players, latent_dim=4, network=MLP, mmd=mmd)


def info_vae_reference(params, x, trace, step):
    """1706.02262, section 3, with the MMD of WAE's code (1711.01558): a term for each pair."""
    nll, kl = gaussian_terms(params, x, trace)
    node = trace.latents[0]
    noise = (node.z - node.posterior.loc) / node.posterior.scale
    loc, log_variance = jnp.split(dense(params["encoder"], x), 2, axis=1)
    z = loc + jnp.exp(log_variance / 2) * noise
    # The key of the draws from the prior, as the training step derives it.
    key = jax.random.fold_in(jax.random.split(jax.random.key(1))[1], 2)
    z_p = jax.random.normal(jax.random.fold_in(key, 0), z.shape)

    def k(a, b):
        squared = ((a[:, None] - b[None]) ** 2).sum(-1)
        return sum(8 * s / (8 * s + squared) for s in (0.5, 2.0))  # 2 · 4 dimensions

    n = len(z)
    apart = 1 - jnp.eye(n)
    within = ((k(z, z) + k(z_p, z_p)) * apart).sum() / (n * (n - 1))
    return nll + 0.75 * kl + 40 * (within - 2 * k(z, z_p).mean())


def factor_vae():
    players = {
        "vae": ({"nll": 1, "kl": 1, "tc": 10.0}, adam()),
        "critic": ({"critic": 1}, optax.adam(1e-3, b1=0.5, b2=0.9, eps=1e-4)),
    }
    critic = {"hidden": (64,)}
    return families.factor_vae(SHAPE, players, latent_dim=4, network=MLP, critic=critic)


def factor_vae_reference(params, x, trace, step):
    """Algorithm 2 of 1802.05983 as one scalar, with a softmax over two logits."""
    sg = jax.lax.stop_gradient
    nll, kl = gaussian_terms(params, x, trace)
    node = trace.latents[0]
    noise = (node.z - node.posterior.loc) / node.posterior.scale
    loc, log_variance = jnp.split(dense(params["encoder"], x), 2, axis=1)
    z = loc + jnp.exp(log_variance / 2) * noise
    key = jax.random.fold_in(jax.random.split(jax.random.key(1))[1], 2)

    def logits(p, z):
        hidden = z @ p["Dense_0"]["kernel"] + p["Dense_0"]["bias"][None]
        hidden = jnp.where(hidden > 0, hidden, 0.2 * hidden)
        return hidden @ p["Dense_1"]["kernel"] + p["Dense_1"]["bias"][None]

    d, half = logits(sg(params["critic"]), z), len(z) // 2
    shuffled = jax.random.permutation(key, sg(z)[half:], axis=0, independent=True)
    joint = logits(params["critic"], sg(z)[:half])
    product = logits(params["critic"], shuffled)
    entropy = jax.nn.logsumexp(joint, axis=1) - joint[:, 0]
    entropy += jax.nn.logsumexp(product, axis=1) - product[:, 1]
    return nll + kl + 10 * (d[:, 0] - d[:, 1]).mean() + 0.5 * entropy.mean()


def _verdict(params, x):
    """A critic of one hidden layer: logits, and the layer before its activation."""
    features = x.reshape(len(x), -1) @ params["v"]
    return jnp.tanh(features) @ params["w"], features


def _critic(key, x):
    return {"v": 0.3 * jax.random.normal(key, (256, 64)), "w": 0.3 * jax.random.normal(key, (64,))}


def vae_gan():
    players = {
        "encoder": ({"kl": 1, "feature": 1}, adam()),
        "decoder": ({"feature": 0.5, "generator": 0.1}, adam()),
        "critic": ({"gan": 1, "r1": 0.1}, optax.adam(1e-4, eps=1e-4)),
    }
    critic = networks.Network(_critic, _verdict)
    options = {"latent_dim": 4, "network": MLP, "critic": critic, "r1": True}
    return families.vae_gan(SHAPE, players, objective="non_saturating", **options)


def vae_gan_reference(params, x, trace, step):
    """Algorithm 1 of 1512.09300 as one scalar, with the non-saturating loss and R1."""
    sg = jax.lax.stop_gradient
    node = trace.latents[0]
    noise = (node.z - node.posterior.loc) / node.posterior.scale
    # The key of the draw from the prior, as the training step derives it.
    key = jax.random.split(jax.random.split(jax.random.key(1))[0], 3)[2]
    loc, log_variance = jnp.split(dense(params["encoder"], x), 2, axis=1)
    z = loc + jnp.exp(log_variance / 2) * noise
    z_p = jax.random.normal(key, z.shape)
    kl = 0.5 * (loc**2 + jnp.exp(log_variance) - 1 - log_variance).sum(axis=1)

    def feature(z, decoder):
        fake = jax.nn.sigmoid(dense(decoder, z))
        gap = _verdict(sg(params["critic"]), x)[1] - _verdict(sg(params["critic"]), fake)[1]
        return 0.5 * (gap**2).sum(axis=1)

    def minus_log_d(z, decoder, critic, sign):
        return jnp.log1p(jnp.exp(-sign * _verdict(critic, jax.nn.sigmoid(dense(decoder, z)))[0]))

    slope = jax.vmap(jax.grad(lambda x: _verdict(params["critic"], x[None])[0][0]))(x)
    total = kl + feature(z, sg(params["decoder"])) + 0.5 * feature(sg(z), params["decoder"])
    for draw in (sg(z), z_p):
        total += 0.1 * minus_log_d(draw, params["decoder"], sg(params["critic"]), 1)
        total += minus_log_d(draw, sg(params["decoder"]), params["critic"], -1)
    total += jnp.log1p(jnp.exp(-_verdict(params["critic"], x)[0]))
    return (total + 0.1 * 0.5 * sums(slope**2)).mean()


def relative(family, minimizes, more=(), **options):
    players = {"vae": (minimizes, adam()), **dict(more)}
    return getattr(families, family)(SHAPE, players, latent_dim=4, network=MLP, **options)


def draw_again(params, x, trace):
    """Location, log-variance and draw of the posterior, from the noise of the trace."""
    node = trace.latents[0]
    noise = (node.z - node.posterior.loc) / node.posterior.scale
    loc, log_variance = jnp.split(dense(params["encoder"], x), 2, axis=1)
    return loc, log_variance, loc + jnp.exp(log_variance / 2) * noise


def log_normal(z, loc, log_variance):
    return -0.5 * ((z - loc) ** 2 / jnp.exp(log_variance) + log_variance + jnp.log(2 * jnp.pi))


def beta_tcvae_reference(params, x, trace, step):
    """1802.04942, eq. 2, weighted by 1, 6, 1, with the tensor of all pairs."""
    nll, _ = gaussian_terms(params, x, trace)
    loc, log_variance, z = draw_again(params, x, trace)
    pairs = log_normal(z[:, None], loc[None], log_variance[None])  # [B, B, D]
    constant = jnp.log(jnp.float32(len(x) * 1000))
    log_q = jax.nn.logsumexp(pairs.sum(2), axis=1) - constant
    log_q_each = (jax.nn.logsumexp(pairs, axis=1) - constant).sum(1)
    mi = log_normal(z, loc, log_variance).sum(1) - log_q
    dimwise = log_q_each - log_normal(z, jnp.zeros(()), jnp.zeros(())).sum(1)
    return nll + (mi + 6 * (log_q - log_q_each) + dimwise).mean()


def dip_vae_reference(params, x, trace, step):
    """1711.00848, eq. 7, with λ_od = 2 and λ_d = 5."""
    nll, kl = gaussian_terms(params, x, trace)
    loc, log_variance, _ = draw_again(params, x, trace)
    second = (loc[:, :, None] * loc[:, None]).mean(0)
    covariance = second - loc.mean(0)[:, None] * loc.mean(0)[None]
    covariance += jnp.diag(jnp.exp(log_variance).mean(0))
    squares = (covariance - jnp.eye(4)) ** 2
    return nll + kl + 2 * (squares * (1 - jnp.eye(4))).sum() + 5 * jnp.trace(squares)


def sigma_vae_reference(params, x, trace, step):
    """2006.13202: −log N(x | mean, σ²) with σ² the mean squared error, held fixed."""
    _, kl = gaussian_terms(params, x, trace)
    mean = dense(params["decoder"], draw_again(params, x, trace)[2])
    squares = (mean - x.reshape(len(x), -1)) ** 2
    return (squares / (2 * jax.lax.stop_gradient(squares.mean()))).sum(1).mean() + kl


def geco_vae_reference(params, x, trace, step):
    """1810.00597: min over the model, max over the multiplier, of kl + λ (nll − 30)."""
    sg = jax.lax.stop_gradient
    nll, kl = gaussian_terms(params, x, trace)
    multiplier = jnp.exp(params["geco"])
    return kl + sg(multiplier) * (nll - 30) - multiplier * sg(nll - 30)


def iwae_reference(params, x, trace, step):
    """1509.00519, eq. 8, for all but the encoder, which has 1810.04152's gradient; a VampPrior."""
    sg, x = jax.lax.stop_gradient, jnp.repeat(x, 3, axis=0)
    loc, log_variance, z = draw_again(params, x, trace)

    def log_p(decoder, encoder, pseudo, z):
        means, spreads = jnp.split(dense(encoder, jax.nn.sigmoid(pseudo)), 2, axis=1)
        each = log_normal(z[:, None], means[None], spreads[None]).sum(2)
        log_prior = jax.nn.logsumexp(each, axis=1) - jnp.log(5.0)
        return log_prior - bernoulli_nll(dense(decoder, z), x.reshape(len(x), -1))

    log_q = log_normal(z, sg(loc), sg(log_variance)).sum(1)
    groups = params["decoder"], params["encoder"], params["prior"]
    log_w = sg(log_p(*groups, z) - log_q).reshape(-1, 3)
    w = jax.nn.softmax(log_w, axis=1).reshape(-1)
    path = w**2 * (log_p(*sg(groups), z) - log_q)
    return -(path + w * log_p(*groups, sg(z))).sum() / (len(x) / 3)


def iwae():
    players = {"encoder": ({"dreg": 1}, adam()), "decoder": ({"iwae": 1}, adam())}
    prior = {"kind": "vamp", "pseudo_inputs": 5}
    options = {"latent_dim": 4, "network": MLP, "prior": prior, "samples": 3}
    return families.iwae(SHAPE, players, **options)


def cvae():
    weights = {"nll": 0.7, "kl": 0.7, "gsnn": 0.3}
    options = {"latent_dim": 4, "network": MLP, "prior_network": MLP, "classes": 3}
    return families.cvae(SHAPE, {"vae": (weights, adam())}, hybrid=True, **options)


def cvae_reference(params, x, trace, step):
    """Sohn et al. 2015, eq. 7, with the learned prior of eq. 4."""
    c, node = trace.condition, trace.latents[0]
    noise = (node.z - node.posterior.loc) / node.posterior.scale
    # The key of the draw from the prior, as the training step derives it.
    key = jax.random.split(jax.random.split(jax.random.key(1))[0], 3)[2]

    def beside(a):
        return jnp.concatenate([a.reshape(len(a), -1), c], axis=1)

    m, log_v = jnp.split(dense(params["encoder"], beside(x)), 2, axis=1)
    n, log_w = jnp.split(dense(params["prior"], c), 2, axis=1)
    z = m + jnp.exp(log_v / 2) * noise
    z_p = n + jnp.exp(log_w / 2) * jax.random.normal(key, m.shape)
    nll, gsnn = (
        bernoulli_nll(dense(params["decoder"], beside(a)), x.reshape(len(x), -1)) for a in (z, z_p)
    )
    kl = 0.5 * (log_w - log_v + (jnp.exp(log_v) + (m - n) ** 2) / jnp.exp(log_w) - 1).sum(axis=1)
    return (0.7 * (nll + kl) + 0.3 * gsnn).mean()


def sparse_vae():
    players = {"vae": ({"nll": 1, "kl": 1, "spike": 0.5}, adam())}
    warm_up = {"kind": "linear", "start": 0.5, "end": 1.0, "steps": 2 * STEPS}
    prior = {"kind": "pseudo_inputs", "count": 3}
    options = {"alpha": 0.1, "sharpness": 5.0, "slab": warm_up, "prior": prior, "network": MLP}
    return families.sparse_vae(SHAPE, players, latent_dim=4, **options)


def sparse_vae_reference(params, x, trace, step):
    slab = 0.5 + 0.5 * step / (2 * STEPS)

    def spike_and_slab(x):
        loc, log_variance, v = jnp.split(dense(params["encoder"], x), 3, axis=1)
        log_active = jnp.minimum(jnp.minimum(v, 0.0), -1e-6)
        return slab * loc, jnp.exp(slab * log_variance), log_active

    def kl(q, p):  # elementwise
        (m, s2, log_g), (mu, su2, log_gu) = q, p
        g, off, off_u = jnp.exp(log_g), -jnp.expm1(log_g), -jnp.expm1(log_gu)
        gaussian = 0.5 * (jnp.log(su2 / s2) + (s2 + (m - mu) ** 2) / su2 - 1)
        return g * (gaussian + log_g - log_gu) + off * jnp.log(off / off_u)

    # The draws that the key of the test gives.
    key = jax.random.split(jax.random.split(jax.random.key(1))[0], 3)[0]
    noise_key, mask_key = jax.random.split(key)
    q = spike_and_slab(x)
    noise, eta = jax.random.normal(noise_key, q[0].shape), jax.random.uniform(mask_key, q[0].shape)
    mask = jax.nn.sigmoid(5.0 * (eta - 1 + jnp.exp(q[2])))
    logits = dense(params["decoder"], mask * (q[0] + jnp.sqrt(q[1]) * noise))
    nll = bernoulli_nll(logits, x.reshape(len(x), -1))

    prior = params["prior"]
    p = spike_and_slab(jax.nn.sigmoid(prior["inputs"]))
    classifier = prior["classifier"]
    w = jax.nn.softmax(x.reshape(len(x), -1) @ classifier["kernel"] + classifier["bias"][None])
    total = 0.0
    for u in range(3):
        component = tuple(a[u][None] for a in p)
        mean = jnp.exp(component[2]).mean()
        spike = mean * jnp.log(mean / 0.1) + (1 - mean) * jnp.log((1 - mean) / 0.9)
        nats = kl(q, component).sum(axis=1) + jnp.log(3 * w[:, u]) + 0.5 * 4 * spike
        total = total + w[:, u] * nats
    return (nll + total).mean()


@functools.cache
def examples() -> dict[str, np.ndarray]:
    """256 real sprites of all kinds, every fourth pixel, and their shapes."""
    source = load("sprites:small")
    rows = source.take(np.random.RandomState(0).permutation(source.size)[:256])
    batch = source.decode(rows)
    return {"image": np.asarray(batch["image"][:, ::4, ::4]), "label": np.asarray(batch["label"])}


class Case:
    """A family to test, and what several properties need of it, made once."""

    ema_decay = 0.5
    steps = STEPS

    def __init__(
        self,
        make: Callable[[], Family],
        reference: Any,
        random: bool,
        of_batch: bool = False,
        falls: str = "nll",  # the loss that goes down
    ) -> None:
        self._make, self.reference, self.random = make, reference, random
        self.of_batch, self.falls = of_batch, falls

    @functools.cached_property
    def family(self) -> Family:
        return self._make()

    @functools.cached_property
    def step(self) -> Any:
        return jax.jit(make_step(self.family, ema_decay=self.ema_decay))

    @functools.cached_property
    def trained(self) -> list[Any]:
        """The states after 0, 1, ... steps, on one device."""
        init = jax.jit(lambda batch: init_state(self.family, 0, batch, self.ema_decay))
        states = [init(examples())]
        for i in range(STEPS):
            states.append(self.step(states[-1], self.batch(i), 0)[0])
        return states

    @staticmethod
    def batch(step: int) -> dict[str, np.ndarray]:
        picked = (np.arange(BATCH) + BATCH * step) % 256
        return {name: value[picked] for name, value in examples().items()}


RAMP = {"kind": "linear", "start": 0.0, "end": 5.0, "steps": 100}
CAPACITY = {"nll": 1.0, "kl_capacity": 10.0}
TC = {"nll": 1, "mi": 1, "tc": 6, "dimwise_kl": 1}
DIP = {"nll": 1, "kl": 1, "dip_off_diagonal": 2, "dip_diagonal": 5}
TENTH = {"kind": "normal", "scale": 0.1}
MULTIPLIER = {"multiplier": ({"geco": -1}, adam())}
RELATIVES = {
    "beta_tcvae": (lambda: relative("beta_tcvae", TC, examples=1000), beta_tcvae_reference),
    "dip_vae": (lambda: relative("dip_vae", DIP, kind="ii"), dip_vae_reference),
    "sigma_vae": (
        lambda: relative("sigma_vae", {"nll_optimal": 1, "kl": 1}, likelihood=TENTH),
        sigma_vae_reference,
    ),
    "geco_vae": (
        lambda: relative("geco_vae", {"kl": 1, "geco": 1}, MULTIPLIER, target=30.0),
        geco_vae_reference,
    ),
    "iwae": (iwae, iwae_reference),
}
FAMILIES_UNDER_TEST = {
    **{k: Case(*v, random=True, of_batch=True) for k, v in RELATIVES.items()},
    "vae_gan": Case(vae_gan, vae_gan_reference, random=True, falls="feature"),
    "beta_vae": Case(lambda: beta_vae({"nll": 1, "kl": 4}), beta_vae_reference, random=True),
    "capacity": Case(lambda: beta_vae(CAPACITY, capacity=RAMP), capacity_reference, random=True),
    "cvae": Case(cvae, cvae_reference, random=True),
    "info_vae": Case(info_vae, info_vae_reference, random=True, of_batch=True),
    "sparse_vae": Case(sparse_vae, sparse_vae_reference, random=True),
    "factor_vae": Case(factor_vae, factor_vae_reference, random=True, of_batch=True),
    "vqvae": Case(
        lambda: vqvae(RESIDUAL, optax.chain(adam(), codebooks.revive_codes(0.01))),
        vqvae_reference(RESIDUAL),
        random=False,
    ),
    "vqvae_ema": Case(
        lambda: vqvae(PATCHES, codebooks.ema_codebook(revive_below=0.01)),
        vqvae_reference(PATCHES),
        random=False,
    ),
}


# Relatives of β-VAE share its model and step: their rows are among the slow tests.
_RELATIVES = {"dip_vae", "geco_vae", "sigma_vae"}


@pytest.fixture(
    params=[
        pytest.param(name, marks=[pytest.mark.slow] * (name in _RELATIVES))
        for name in FAMILIES_UNDER_TEST
    ]
)
def case(request: pytest.FixtureRequest) -> Case:
    return FAMILIES_UNDER_TEST[request.param]
