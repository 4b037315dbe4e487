"""The random numbers of a pass that its trace does not show.

Each function takes `(family, params, batch, key, step)` and returns the numbers by name, for the
family's reference loss. It finds them in what passes with the same key return for parameters or
data that make them visible, or in the samples of a prior that keeps them.
"""

import jax
import jax.numpy as jnp
import numpy as np

from tests.families.sequential import belief_states, normal
from vaejax.core import game


class Observed:
    """A distribution that keeps its samples."""

    def __init__(self, inner):
        self.inner, self.samples = inner, []

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def sample(self, key):
        self.samples.append(self.inner.sample(key))
        return self.samples[-1]


def prior_sample(family, params, batch, key, step):
    """What the losses sample from the prior of the one node."""
    observed = []

    def forward(*args):
        trace = family.model.forward(*args)
        (node,) = trace.latents
        observed.append(Observed(node.prior))
        return trace._replace(latents=(node._replace(prior=observed[0]),))

    watched = family._replace(model=family.model._replace(forward=forward))
    game.losses_and_trace(watched)(params, batch, key, step)
    (sample,) = observed[0].samples
    return {"prior_noise": sample}  # of a standard normal prior


def shows_z(decoder, dim):
    """Parameters of a decoder of one hidden layer whose first logits are z = z₊ − z₋."""
    hidden, out = (jnp.zeros_like(decoder[f"Dense_{i}"]["kernel"]) for i in range(2))
    i = jnp.arange(dim)
    hidden = hidden.at[i, i].set(1.0).at[i, dim + i].set(-1.0)
    out = out.at[i, i].set(1.0).at[dim + i, i].set(-1.0)
    return {
        f"Dense_{i}": {"kernel": kernel, "bias": jnp.zeros_like(decoder[f"Dense_{i}"]["bias"])}
        for i, kernel in enumerate((hidden, out))
    }


def generated_noise(family, params, batch, key, step, dim=4):
    """The noise of the sample from the prior that `trace.generated` decodes."""
    shown = {**params, "decoder": shows_z(params["decoder"], dim)}
    if "prior" in params:  # a learned one, here N(0, 1)
        shown["prior"] = jax.tree.map(jnp.zeros_like, params["prior"])
    _, trace = game.losses_and_trace(family)(shown, batch, key, step)
    logits = trace.generated.logits
    return {"prior_noise": logits.reshape(len(logits), -1)[:, :dim]}


def permutation(family, params, batch, key, step):
    """The order `[B / 2, D]` in which the discriminator of FactorVAE gets each column of z.

    Its loss is softplus(z_d) for a discriminator whose logits are (z_d, 0).
    """
    z = game.losses_and_trace(family)(params, batch, key, step)[1].latents[0].z
    kernel = params["discriminator"]["Dense_0"]["kernel"]

    def column(d):
        hidden = jnp.zeros_like(kernel).at[d, 0].set(1.0).at[d, 1].set(-1.0)
        out = jnp.zeros_like(params["discriminator"]["Dense_1"]["kernel"])
        out = out.at[0, 0].set(1 / 1.2).at[1, 0].set(-1 / 1.2)  # of leaky relus of slope 0.2
        shown = jax.tree.map(jnp.zeros_like, params["discriminator"])
        shown["Dense_0"]["kernel"], shown["Dense_1"]["kernel"] = hidden, out
        losses, _ = game.losses_and_trace(family)(
            {**params, "discriminator": shown}, batch, key, step
        )
        second = losses["discriminator_loss"][len(z) // 2 :]
        return second + jnp.log(-jnp.expm1(-second))

    permuted = jax.vmap(column, out_axes=1)(jnp.arange(z.shape[1]))  # [B / 2, D]
    second = z[len(z) // 2 :]
    return {"order": jnp.abs(permuted[:, None] - second[None]).argmin(axis=1)}


def gumbel(family, params, batch, key, step):
    """The Gumbel noise `[B, 4, 4, K]` but for a number per token: z is softmax(noise / τ) here.

    Uniforms of float32 give noise between −4.5 and 16, so z is above 1e-12 and its log is finite.
    """
    shown = {
        **params,
        "encoder": jax.tree.map(jnp.zeros_like, params["encoder"]),
        "codebook": jnp.eye(*params["codebook"].shape),
    }
    _, trace = game.losses_and_trace(family)(shown, batch, key, step)
    return {"gumbel": 0.8 * jnp.log(trace.latents[0].z)}


def spike_and_slab(family, params, batch, key, step):
    """The noise ε of the slab and the uniform η of the mask, at sharpness 5."""
    out = params["encoder"]["Dense_1"]

    def sample(loc):
        bias = jnp.repeat(jnp.array([loc, 0.0, jnp.log(0.5)]), len(out["bias"]) // 3)
        shown = {
            "Dense_0": params["encoder"]["Dense_0"],
            "Dense_1": {"kernel": jnp.zeros_like(out["kernel"]), "bias": bias},
        }
        _, trace = game.losses_and_trace(family)({**params, "encoder": shown}, batch, key, step)
        return trace.latents[0].z, trace.latents[0].posterior.loc

    (z, _), (shifted, loc) = sample(0.0), sample(1.0)
    mask = (shifted - z) / loc
    return {"slab_noise": z / mask, "eta": jnp.log(mask / (1 - mask)) / 5.0 + 0.5}


def times(family, params, batch, key, step):
    """The times t1 and t2 of the pairs of TD-VAE, `[2, B · P]`.

    Of frames that all differ: t2 is that of the frame in the trace, t1 that of the belief state
    from which the trace's prior of z_t1 follows.
    """
    frames = np.random.RandomState(0).rand(1, *batch["image"].shape[1:]).astype(np.float32)
    image = jnp.broadcast_to(jnp.asarray(frames), batch["image"].shape)
    _, trace = game.losses_and_trace(family)(params, {**batch, "image": image}, key, step)

    def nearest(rows, known):
        gaps = rows.reshape(len(rows), 1, -1) - known.reshape(1, len(known), -1)
        return jnp.abs(gaps).max(axis=2).argmin(axis=1)

    beliefs = belief_states(params, image[:1])[0]  # [T, ...]
    loc, _ = normal(params["belief"]["belief"]["layer_0"], beliefs)
    prior = trace.latents[2].prior.loc
    return {"times": jnp.stack([nearest(prior, loc), nearest(trace.x, image[0])])}
