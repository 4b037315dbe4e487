"""The prior of variational sparse coding: a mixture of the posteriors of pseudo-inputs."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from vaejax.core.game import Params
from vaejax.core.registry import table
from vaejax.distributions import Mixture
from vaejax.distributions.spike_and_slab import SoftAssignment
from vaejax.latents.priors import Encode, LatentPrior
from vaejax.networks import Network

__all__ = ["linear_classifier", "pseudo_inputs"]


def linear_classifier(classes: int) -> Network:
    """Flattened events -> logits `[B, classes]`, by one dense layer, as in the authors' code."""

    def init(key: jax.Array, x: jax.Array) -> Params:
        size = math.prod(x.shape[1:])
        kernel = jax.nn.initializers.lecun_normal()(key, (size, classes))
        return {"kernel": kernel, "bias": jnp.zeros(classes)}

    def apply(params: Params, x: jax.Array) -> jax.Array:
        return x.reshape(x.shape[0], -1) @ params["kernel"] + params["bias"][None]

    return Network(init, apply)


def pseudo_inputs(
    shape: Sequence[int],
    *,
    count: int = 20,
    classifier: Network | str | None = "linear",
    squash: bool = True,
    group: str = "prior",
) -> LatentPrior:
    """A mixture of the posteriors of learned pseudo-inputs (Tonolini et al., UAI 2019, eq. 8–9).

    Samples come from the mixture, with equal weights. A classifier of x assigns each example
    softly to the components; its KL is the joint one of z and component (see `SoftAssignment`). The
    sparsity α enters through the loss `sparsity_kl` (`losses.sparsity_kl`).

    Args:
      shape: of one event.
      count: number of pseudo-inputs, U.
      classifier: events -> logits `[B, U]`; `'linear'` for one dense layer; None for the
        assignment with the lowest KL, which has a closed form.
      squash: whether pseudo-inputs are kept in [0, 1], as images are, by a sigmoid.
      group: name of the parameter group of pseudo-inputs and classifier.
    """
    if count < 1:
        raise ValueError(f"a prior of pseudo-inputs needs at least one, found {count}")
    network = linear_classifier(count) if classifier == "linear" else classifier
    if isinstance(network, str):
        raise ValueError(f"the classifier is a Network, 'linear' or None, found {network!r}")

    def init(key: jax.Array, z: jax.Array, condition: jax.Array | None) -> Params:
        del z, condition
        input_key, classifier_key = jax.random.split(key)
        init_params = {"inputs": jax.random.normal(input_key, (count, *shape))}
        if network:
            init_params["classifier"] = network.init(classifier_key, jnp.zeros((1, *shape)))
        return {group: init_params}

    def apply(
        params: Params, shape: tuple[int, ...], condition: jax.Array | None, encode: Encode
    ) -> Mixture:
        del condition
        u = params[group]["inputs"]
        u = jax.nn.sigmoid(u) if squash else u
        return Mixture(jnp.zeros(count), encode(params, u), shape[0])

    def for_events(params: Params, prior: Mixture, x: jax.Array) -> SoftAssignment:
        assert network is not None
        logits = network.apply(params[group]["classifier"], x)
        return SoftAssignment(prior, jax.nn.log_softmax(logits))

    return LatentPrior(init, apply, for_events if network else None)


table("prior", {"pseudo_inputs": pseudo_inputs})
