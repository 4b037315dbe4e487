"""TD-VAE, with the rows of an image as the frames of a sequence, and its loss as in the paper."""

import jax
import jax.numpy as jnp

from tests.families.common import SHAPE, adam, bernoulli_nll, sums
from vaejax import families

STEPS = ((1, 2, 0.5), (3, 9, 0.5))


def td_vae():
    players = {"vae": ({"nll": 1, "kl": 1}, adam())}
    return families.td_vae(
        SHAPE, players, latent_dims=(2, 3), belief={"kind": "lstm", "size": 8}, features=6,
        network={"kind": "mlp", "hidden": (10,)}, hidden=(7,), steps=STEPS, num_pairs=2,
    )  # fmt: skip


def dense(p, x):
    hidden = x @ p["Dense_0"]["kernel"] + p["Dense_0"]["bias"][None]
    return jax.nn.relu(hidden) @ p["Dense_1"]["kernel"] + p["Dense_1"]["bias"][None]


def normal(p, *inputs):
    """Location and scale of a normal density, by a gated layer."""
    x = jnp.concatenate(inputs, axis=1)
    a, b, out = (p[f"Dense_{i}"] for i in range(3))
    gate = jax.nn.sigmoid(x @ a["kernel"] + a["bias"][None])
    h = jnp.tanh(x @ b["kernel"] + b["bias"][None]) * gate
    loc, raw = jnp.split(h @ out["kernel"] + out["bias"][None], 2, axis=1)
    return loc, 1e-3 + 0.999 * jnp.log2(1 + 2.0**raw)


def belief_states(params, x):
    """The states `[B, T, 8]` of the LSTM over the rows of images."""
    lstm = params["belief"]["aggregator"]

    def step(carry, row):
        h, c = carry
        f = dense(params["belief"]["frame_encoder"], row)
        gates = f @ lstm["input"] + lstm["bias"][None] + h @ lstm["recurrent"]
        i, o = jax.nn.sigmoid(gates[:, :8]), jax.nn.sigmoid(gates[:, 24:])
        c = jax.nn.sigmoid(gates[:, 8:16]) * c + i * jnp.tanh(gates[:, 16:24])
        h = o * jnp.tanh(c)
        return (h, c), h

    start = jnp.zeros((len(x), 8))
    _, states = jax.lax.scan(step, (start, start), x[..., 0].swapaxes(0, 1))
    return states.swapaxes(0, 1)


def td_vae_reference(params, x, trace, step, times):
    """1806.03107, eq. 8, with the density of z_t1 integrated, and the noise of the trace."""
    (first, second), rows = times, jnp.repeat(jnp.arange(len(x)), 2)

    def sample(node, loc, scale):
        return loc + scale * (node.z - node.posterior.loc) / node.posterior.scale

    def log_prob(z, loc, scale):
        return sums(-0.5 * ((z - loc) / scale) ** 2 - jnp.log(scale) - 0.5 * jnp.log(2 * jnp.pi))

    def kl(q, p):
        gap = (q[1] ** 2 + (q[0] - p[0]) ** 2) / p[1] ** 2
        return sums(0.5 * (gap - 1) - jnp.log(q[1] / p[1]))

    b = belief_states(params, x)
    b1, b2 = b[rows, first], b[rows, second]

    delta = (second - first).astype(jnp.float32)[:, None]
    angle = 2 * jnp.pi * delta / jnp.array([2.0, 4.0, 8.0, 16.0, 32.0])[None]  # 32 ≥ 2 · 9
    embedded = jnp.concatenate([delta / 9, jnp.sin(angle), jnp.cos(angle)], axis=1)

    belief, smoother = params["belief"]["belief"], params["smoothing"]
    transition = params["transition"]
    top2, low2, top1, low1 = trace.latents
    q2 = normal(belief["layer_0"], b2)
    z2 = [sample(top2, *q2)]
    r2 = normal(belief["layer_1"], b2, *z2)
    z2.append(sample(low2, *r2))
    inputs = (*z2, b1, b2, embedded)
    q1 = normal(smoother["layer_0"], *inputs)
    z1 = [sample(top1, *q1)]
    r1 = normal(smoother["layer_1"], *inputs, *z1)
    z1.append(sample(low1, *r1))
    at1 = kl(q1, normal(belief["layer_0"], b1)) + kl(r1, normal(belief["layer_1"], b1, z1[0]))
    at2 = log_prob(z2[0], *q2) - log_prob(z2[0], *normal(transition["layer_0"], *z1, embedded))
    at2 += log_prob(z2[1], *r2) - log_prob(
        z2[1], *normal(transition["layer_1"], *z1, embedded, z2[0])
    )
    logits = dense(params["decoder"], jnp.concatenate(z2, axis=1))
    return (bernoulli_nll(logits, x[rows, second, :, 0]) + at1 + at2).mean()
