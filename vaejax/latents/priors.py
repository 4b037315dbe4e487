"""Priors p(z) of a continuous latent that are more than N(0, I): conditional, mixtures."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vaejax.core.game import Params
from vaejax.core.registry import make
from vaejax.distributions import Mixture, Normal
from vaejax.networks import Network

Encode = Callable[[Params, jax.Array], Any]  # (params, events) -> posterior


class LatentPrior(NamedTuple):
    """A prior with parameters.

    Attributes:
      init: `(key, z, condition) -> {group: params}`; z `[B, ...]` and the condition for shapes.
      apply: `(params, shape, condition, encode) -> p(z)` for z of this shape `(B, ...)`, where
        `encode` gives the posterior of events, for priors that are made of posteriors.
      given: `(params, p(z), events) -> p(z)` with what the events' KL to it needs to know, such as
        a choice of a mixture's component for each; None for nothing.
    """

    init: Callable[[jax.Array, jax.Array, jax.Array | None], Params]
    apply: Callable[[Params, tuple[int, ...], jax.Array | None, Encode], Any]
    given: Callable[[Params, Any, jax.Array], Any] | None = None


def conditional(network: Network, group: str = "prior") -> LatentPrior:
    """p(z | c), a Gaussian given by a network of the condition (Sohn et al. 2015, section 3).

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


def with_guess(
    prior: LatentPrior, guess: Network, complete: Callable[[jax.Array, jax.Array], jax.Array]
) -> LatentPrior:
    """A prior of a condition completed by a guess of the event: a recurrent connection.

    Sohn et al. 2015, section 4.2: a deterministic network ŷ(c) guesses first, and the prior
    network sees c and ŷ. Its parameters are the group `guess`; let a player of their own minimise
    the loss `guess` (`losses.guess`), as no other loss should move them.

    Args:
      prior: of the completed condition.
      guess: condition -> features of the likelihood.
      complete: (condition, features of the guess) -> completed condition.
    """

    def init(key: jax.Array, z: jax.Array, condition: jax.Array | None) -> Params:
        if condition is None:
            raise ValueError("a guess needs a model with a condition")
        guess_key, prior_key = jax.random.split(key)
        params = {"guess": guess.init(guess_key, condition)}
        completed = complete(condition, guess.apply(params["guess"], condition))
        return params | prior.init(prior_key, z, completed)

    def apply(
        params: Params, shape: tuple[int, ...], condition: jax.Array | None, encode: Encode
    ) -> Any:
        assert condition is not None
        completed = complete(condition, guess.apply(params["guess"], condition))
        return prior.apply(params, shape, completed, encode)

    return LatentPrior(init, apply)


def mixture(components: int, group: str = "prior") -> LatentPrior:
    """A mixture of Gaussians with learned weights, means and standard deviations.

    It starts as Gaussians of unit variance about draws from N(0, I).

    Args:
      components: how many, K.
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
    """VampPrior (1705.07120, section 3): the mean of the posteriors of learned pseudo-inputs.

    Args:
      pseudo_inputs: how many, K.
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


PRIORS: dict[str, Callable[..., LatentPrior | None]] = {
    "standard": lambda shape: None,
    "mixture": lambda shape, components=50: mixture(components),
    "vamp": lambda shape, pseudo_inputs=500, squash=True: vamp(pseudo_inputs, shape, squash=squash),
}


def latent_prior(
    setting: str | Mapping[str, Any] | LatentPrior, shape: Sequence[int]
) -> LatentPrior | None:
    """A prior without conditions, from its name, `{"kind": name, **arguments}`, or as it is.

    Its parameters are the group `prior`. None stands for the bottleneck's own, N(0, I).

    Args:
      setting: which prior.
      shape: of one event.

    Raises:
      ValueError: the kind is unknown or its arguments do not fit.
    """
    return setting if isinstance(setting, LatentPrior) else make(PRIORS, setting, "prior", shape)
