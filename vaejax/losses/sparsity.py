"""Losses for sparsity, of latents and of decoder weights."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from vaejax.core.game import Losses, LossTransform, Params, Trace
from vaejax.core.registry import near_names
from vaejax.distributions import Mixture
from vaejax.distributions.spike_and_slab import SoftAssignment, SpikeAndSlab
from vaejax.distributions.spike_and_slab_lasso import INCLUSION, WEIGHTS, SpikeAndSlabLasso
from vaejax.losses.base import stateless

__all__ = ["ridge", "sparsity_kl", "spike_and_slab_lasso"]


def sparsity_kl(alpha: float) -> LossTransform:
    """`sparsity_kl` `[B]`: K · KL(Bernoulli(γ̄_u) ‖ Bernoulli(α)) of component u of the prior.

    Keeps a prior of pseudo-inputs sparse (Tonolini et al., UAI 2019, eq. 12): γ̄_u is the mean over
    the K elements of z of the probability that they are active under pseudo-input u. The KL is
    averaged over components by the assignment of each example, or, in a mixture without
    assignments, by the mixture weights.

    Args:
      alpha: the target fraction of active elements.

    Raises:
      ValueError: the model has no prior of spike-and-slab components.
    """

    def apply(losses: Losses, trace: Trace) -> Losses:
        del losses
        (prior, *_) = [node.prior for node in trace.latents]
        mixture = prior.mixture if isinstance(prior, SoftAssignment) else prior
        if not (isinstance(mixture, Mixture) and isinstance(mixture.components, SpikeAndSlab)):
            raise ValueError(
                "the loss 'sparsity_kl' needs a prior of spike-and-slab components, found "
                f"{type(prior).__name__}: use the prior 'pseudo_inputs', or leave the loss out"
            )
        active = mixture.components.active  # [U, ...]
        size = active[0].size
        mean = jnp.clip(active.reshape(active.shape[0], -1).mean(axis=1), 1e-6, 1 - 1e-6)
        on, off = mean * jnp.log(mean / alpha), (1 - mean) * jnp.log((1 - mean) / (1 - alpha))
        log_w = jax.nn.log_softmax(mixture.logits)[None]
        w = jnp.exp(prior.log_assignment if isinstance(prior, SoftAssignment) else log_w)
        nats = size * (w @ (on + off))
        return {"sparsity_kl": jnp.broadcast_to(nats, (trace.x.shape[0],))}

    return stateless(apply)


def spike_and_slab_lasso(
    prior: SpikeAndSlabLasso, examples: int, group: str = "selector", *, small: float = 0.05
) -> LossTransform:
    """`spike_and_slab_lasso` `[]`: −(log p(W | θ) + log p(θ)) / N, in nats per example.

    Together with nll + kl it is minus the objective of 2110.10804 (eq. 8–11) divided by N, with the
    paper's indicators summed out (see `SpikeAndSlabLasso.log_prob`). Also makes two metrics:
    `selected` `[]`, the fraction of W whose p* is above one half, and `sparsity` `[]`, the fraction
    of W below `small`.

    Args:
      prior: of W.
      examples: size N of the training set.
      group: the parameter group of W and θ.
      small: the absolute value below which a weight counts as zero.

    Raises:
      ValueError: N is not positive, or there is no such group.
    """
    if examples < 1:
        raise ValueError(
            f"the loss 'spike_and_slab_lasso' needs the size of the training set, found {examples}"
        )

    def apply(losses: Losses, params: Params, trace: Trace, key: jax.Array) -> Losses:
        del trace, key
        if group not in params:
            raise ValueError(
                "the loss 'spike_and_slab_lasso' found no parameter group "
                f"{near_names(group, params)}"
            )
        weights, inclusion = params[group][WEIGHTS], params[group][INCLUSION]
        selected = (prior.slab_probability(weights, inclusion) > 0.5).astype(jnp.float32)
        penalty = -prior.log_prob(weights, inclusion) / examples
        sparsity = (jnp.abs(weights) < small).astype(jnp.float32).mean()
        return {
            **losses,
            "spike_and_slab_lasso": penalty,
            "selected": selected.mean(),
            "sparsity": sparsity,
        }

    return LossTransform(lambda key, trace: {}, apply)


def ridge(groups: Sequence[str], examples: int, variance: float = 0.05) -> LossTransform:
    """`ridge` `[]`: −log p(kernels) / N under the prior N(0, variance), up to a constant.

    Applies to all arrays named `kernel` in some groups. In sparse decoding W is penalised and
    followed by a network, so that W / c with c times the network's kernels is nearly the same
    decoder at a lower penalty: this prior fixes the scale of W. (The authors' code has weight decay
    of the same kernels.)

    Args:
      groups: parameter groups.
      examples: size N of the training set.
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
                raise ValueError(f"the loss 'ridge' found no parameter group {unknown}")
        paths = jax.tree_util.tree_leaves_with_path({group: params[group] for group in groups})
        squares = [
            jnp.sum(jnp.square(leaf))
            for path, leaf in paths
            if getattr(path[-1], "key", None) == "kernel"
        ]
        return {**losses, "ridge": 0.5 * jnp.stack(squares).sum() / (variance * examples)}

    return LossTransform(lambda key, trace: {}, apply)
