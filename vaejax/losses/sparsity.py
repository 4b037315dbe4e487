"""Losses that make something sparse: the prior of a latent, the weights of a decoder."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from vaejax.core.game import Losses, LossTransform, Params, Trace
from vaejax.core.registry import near_names
from vaejax.distributions import Mixture
from vaejax.distributions.spike_and_slab import Chosen, SpikeAndSlab
from vaejax.distributions.spike_and_slab_lasso import INCLUSION, WEIGHTS, SpikeAndSlabLasso
from vaejax.losses.base import stateless


def spike(alpha: float) -> LossTransform:
    """`spike` `[B]`: K · KL(Bernoulli(γ̄_u) ‖ Bernoulli(α)) of the chosen component of the prior.

    What keeps a prior of pseudo-inputs sparse (Tonolini et al., UAI 2019, eq. 12): γ̄_u is the mean
    over the K elements of z of the probability that pseudo-input u leaves them active. A soft
    choice takes the mean over components; a mixture without a choice has that of its weights.

    Args:
      alpha: the fraction of elements that shall be active.

    Raises:
      ValueError: the model has no prior of spike-and-slab components.
    """

    def apply(losses: Losses, trace: Trace) -> Losses:
        del losses
        (prior, *_) = [node.prior for node in trace.latents]
        mixture = prior.mixture if isinstance(prior, Chosen) else prior
        if not (isinstance(mixture, Mixture) and isinstance(mixture.components, SpikeAndSlab)):
            raise ValueError(
                "the loss 'spike' needs a prior of spike-and-slab components, found "
                f"{type(prior).__name__}: take the prior 'pseudo_inputs', or leave the loss out"
            )
        active = mixture.components.active  # [U, ...]
        size = active[0].size
        mean = jnp.clip(active.reshape(active.shape[0], -1).mean(axis=1), 1e-6, 1 - 1e-6)
        on, off = mean * jnp.log(mean / alpha), (1 - mean) * jnp.log((1 - mean) / (1 - alpha))
        log_w = jax.nn.log_softmax(mixture.logits)[None]
        w = jnp.exp(prior.log_choice if isinstance(prior, Chosen) else log_w)
        each = size * (w @ (on + off))
        return {"spike": jnp.broadcast_to(each, (trace.x.shape[0],))}

    return stateless(apply)


def ssl(
    prior: SpikeAndSlabLasso, examples: int, group: str = "selector", *, small: float = 0.05
) -> LossTransform:
    """`ssl` `[]`: −(log p(W | θ) + log p(θ)) / N, the spike-and-slab lasso in nats per example.

    So that nll + kl + ssl is minus the objective of 2110.10804 (eq. 8–11) divided by N, with its
    indicators summed out (see `SpikeAndSlabLasso.log_prob`). Also, for the log, `selected` `[]`,
    the fraction of W whose p* is above one half, and `sparsity` `[]`, the fraction that is small.

    Args:
      prior: of W.
      examples: N, of the training set.
      group: the parameter group of W and θ.
      small: the size below which a weight counts as none.

    Raises:
      ValueError: N is not positive, or there is no such group.
    """
    if examples < 1:
        raise ValueError(f"the loss 'ssl' needs the size of the training set, found {examples}")

    def apply(losses: Losses, params: Params, trace: Trace, key: jax.Array) -> Losses:
        del trace, key
        if group not in params:
            raise ValueError(f"the loss 'ssl' finds no parameter group {near_names(group, params)}")
        weights, inclusion = params[group][WEIGHTS], params[group][INCLUSION]
        selected = (prior.selected(weights, inclusion) > 0.5).astype(jnp.float32)
        penalty = -prior.log_prob(weights, inclusion) / examples
        sparsity = (jnp.abs(weights) < small).astype(jnp.float32).mean()
        return {**losses, "ssl": penalty, "selected": selected.mean(), "sparsity": sparsity}

    return LossTransform(lambda key, trace: {}, apply)


def ridge(groups: Sequence[str], examples: int, variance: float = 0.05) -> LossTransform:
    """`ridge` `[]`: −log p(kernels) / N for kernels from N(0, variance), up to a constant.

    Of all arrays named `kernel` in some groups. Where W is penalised and followed by a network, as
    in sparse decoding, W / c and c times the network's kernels are nearly the same decoder at a
    lower penalty: this prior of the kernels gives W a scale. (The authors' code has weight
    decay of the same kernels.)

    Args:
      groups: parameter groups.
      examples: N, of the training set.
      variance: of each kernel's entries; about 2 / width of the layers.

    Raises:
      ValueError: N is not positive, or there is no such group.
    """
    if examples < 1:
        raise ValueError(f"the loss 'ridge' needs the size of the training set, found {examples}")

    def apply(losses: Losses, params: Params, trace: Trace, key: jax.Array) -> Losses:
        del trace, key
        for group in groups:
            if group not in params:
                unknown = near_names(group, params)
                raise ValueError(f"the loss 'ridge' finds no parameter group {unknown}")
        paths = jax.tree_util.tree_leaves_with_path({group: params[group] for group in groups})
        squares = [
            jnp.sum(jnp.square(leaf))
            for path, leaf in paths
            if getattr(path[-1], "key", None) == "kernel"
        ]
        return {**losses, "ridge": 0.5 * jnp.stack(squares).sum() / (variance * examples)}

    return LossTransform(lambda key, trace: {}, apply)
