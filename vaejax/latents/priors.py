"""Learned priors p(z) of continuous latents: conditional Gaussians and mixtures."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from vaejax.core.game import Params
from vaejax.core.registry import make, table
from vaejax.core.types import Options
from vaejax.distributions import Distribution, Mixture, Normal
from vaejax.networks import Network

__all__ = [
    "PRIORS",
    "Encode",
    "LatentPrior",
    "conditional",
    "latent_prior",
    "mixture",
    "vamp",
    "with_baseline",
]

Encode = Callable[[Params, jax.Array], Distribution]  # (params, events) -> posterior


class LatentPrior(NamedTuple):
    """A prior with parameters, as pure functions.

    Attributes:
      init: `(key, z, condition) -> {group: params}`; z `[B, ...]` and the condition give shapes.
      apply: `(params, shape, condition, encode) -> p(z)` for z of this shape `(B, ...)`; `encode`
        returns the posterior of events, for priors that are mixtures of posteriors.
      for_events: `(params, p(z), events) -> p(z)`, the prior extended by quantities that the KL of
        these events needs, such as an assignment of each to a component; None for priors without.
    """

    init: Callable[[jax.Array, jax.Array, jax.Array | None], Params]
    apply: Callable[[Params, tuple[int, ...], jax.Array | None, Encode], Distribution]
    for_events: Callable[..., Distribution] | None = None


def conditional(network: Network, group: str = "prior") -> LatentPrior:
    """p(z | c), a Gaussian predicted by a network from c (CVAE, Sohn et al. 2015, section 3).

    Args:
      network: condition `[B, ...]` -> mean and log-variance `[B, ..., 2 · latent_dim]`.
      group: name of its parameter group.
    """

    def init(key: jax.Array, z: jax.Array, condition: jax.Array | None) -> Params:
        del z
        if condition is None:
            raise ValueError("a conditional prior needs a model with a condition")
        return {group: network.init(key, condition)}

    def apply(
        params: Params, shape: tuple[int, ...], condition: jax.Array | None, encode: Encode
    ) -> Normal:
        del encode
        p = Normal.from_features(network.apply(params[group], condition))
        if p.loc.shape != shape:
            raise ValueError(
                f"the prior network gives latents of shape {p.loc.shape}, the encoder {shape}: "
                "give both the same architecture (model.prior_network)"
            )
        return p

    return LatentPrior(init, apply)


def with_baseline(
    prior: LatentPrior, baseline: Network, complete: Callable[[jax.Array, jax.Array], jax.Array]
) -> LatentPrior:
    """A prior whose condition is completed by a baseline's prediction: the recurrent connection.

    Sohn et al. 2015, section 4.2: a deterministic baseline network predicts ŷ(c), and the prior
    network receives c and ŷ. The baseline's parameters are the group `baseline`; give it a player
    of its own that minimises `baseline_nll` (`losses.baseline_nll`) alone.

    Args:
      prior: receives the completed condition.
      baseline: condition -> features of the likelihood.
      complete: (condition, features of the baseline) -> completed condition.
    """

    def init(key: jax.Array, z: jax.Array, condition: jax.Array | None) -> Params:
        if condition is None:
            raise ValueError("a baseline needs a model with a condition")
        baseline_key, prior_key = jax.random.split(key)
        params = {"baseline": baseline.init(baseline_key, condition)}
        completed = complete(condition, baseline.apply(params["baseline"], condition))
        return params | prior.init(prior_key, z, completed)

    def apply(
        params: Params, shape: tuple[int, ...], condition: jax.Array | None, encode: Encode
    ) -> Distribution:
        assert condition is not None
        completed = complete(condition, baseline.apply(params["baseline"], condition))
        return prior.apply(params, shape, completed, encode)

    return LatentPrior(init, apply)


def mixture(components: int, group: str = "prior") -> LatentPrior:
    """A mixture of Gaussians with learned weights, means and standard deviations.

    Initially the Gaussians have unit variance, and means sampled from N(0, I).

    Args:
      components: number of Gaussians, K.
      group: name of its parameter group.
    """
    if components < 1:
        raise ValueError(f"a mixture prior needs at least one component, found {components}")

    def init(key: jax.Array, z: jax.Array, condition: jax.Array | None) -> Params:
        del condition
        loc = jax.random.normal(key, (components, *z.shape[1:]))
        log_scale, logits = jnp.zeros_like(loc), jnp.zeros(components)
        return {group: {"logits": logits, "loc": loc, "log_scale": log_scale}}

    def apply(
        params: Params, shape: tuple[int, ...], condition: jax.Array | None, encode: Encode
    ) -> Mixture:
        del condition, encode
        p = params[group]
        return Mixture(p["logits"], Normal(p["loc"], jnp.exp(p["log_scale"])), shape[0])

    return LatentPrior(init, apply)


def vamp(
    pseudo_inputs: int, shape: Sequence[int], *, squash: bool = True, group: str = "prior"
) -> LatentPrior:
    """VampPrior (1705.07120, section 3): the mixture of the posteriors of learned pseudo-inputs.

    Args:
      pseudo_inputs: number of pseudo-inputs, K.
      shape: of one event.
      squash: whether pseudo-inputs are kept in [0, 1], as images are, by a sigmoid.
      group: name of their parameter group, `[K, *shape]`.
    """
    if pseudo_inputs < 1:
        raise ValueError(f"a VampPrior needs at least one pseudo-input, found {pseudo_inputs}")

    def init(key: jax.Array, z: jax.Array, condition: jax.Array | None) -> Params:
        del z, condition
        return {group: jax.random.normal(key, (pseudo_inputs, *shape))}

    def apply(
        params: Params, shape: tuple[int, ...], condition: jax.Array | None, encode: Encode
    ) -> Mixture:
        del condition
        u = jax.nn.sigmoid(params[group]) if squash else params[group]
        return Mixture(jnp.zeros(pseudo_inputs), encode(params, u), shape[0])

    return LatentPrior(init, apply)


PRIORS: Mapping[str, Callable[..., LatentPrior | None]] = table(
    "prior",
    {
        "standard": lambda shape: None,
        "mixture": lambda shape, components=50: mixture(components),
        "vamp": lambda shape, pseudo_inputs=500, squash=True: vamp(
            pseudo_inputs, shape, squash=squash
        ),
    },
)


def latent_prior(setting: str | Options | LatentPrior, shape: Sequence[int]) -> LatentPrior | None:
    """An unconditional prior from its name or from `{"kind": name, **arguments}`.

    Its parameters are the group `prior`.

    Args:
      setting: one of these, or a `LatentPrior`, which is returned unchanged.
      shape: of one event.

    Returns:
      The prior; None for `'standard'`, the bottleneck's own prior, such as N(0, I).

    Raises:
      ValueError: the kind is unknown or its arguments do not fit.
    """
    return setting if isinstance(setting, LatentPrior) else make(PRIORS, setting, "prior", shape)
