"""The spike-and-slab distribution of variational sparse coding, and its KL in closed form."""

import dataclasses
from typing import ClassVar, cast

import jax
import jax.numpy as jnp

from vaejax.core.distribution import Capabilities, SparseDistribution
from vaejax.distributions import STATIC, Mixture, Normal, register_kl
from vaejax.distributions.bounds import soft_bound

__all__ = ["SoftAssignment", "SpikeAndSlab"]

_MAX_LOG_ACTIVE = -1e-6  # of log γ, so that log(1 − γ) and its derivative stay finite


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SpikeAndSlab:
    """γ N(loc, scale²) + (1 − γ) δ₀, elementwise (Tonolini et al., UAI 2019, eq. 5).

    Its density is with respect to the sum of the Lebesgue measure and a point mass at zero.

    Attributes:
      loc: mean of the slab.
      scale: standard deviation of the slab.
      log_active: log γ < 0, the log-probability that the element is not zero.
      sharpness: c of the relaxed sample, of the same shape.
      relaxed: whether `sample` returns the relaxed sample or the exact one.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(continuous=True, reparameterized=True)

    loc: jax.Array
    scale: jax.Array
    log_active: jax.Array
    sharpness: jax.Array
    relaxed: bool = dataclasses.field(default=True, metadata=STATIC)

    @classmethod
    def from_features(
        cls,
        features: jax.Array,
        *,
        sharpness: jax.Array | float = 200.0,
        slab: jax.Array | float = 1.0,
        relaxed: bool = True,
    ) -> "SpikeAndSlab":
        """The distribution from mean, log-variance and v, with log γ = −relu(−v) (ibid.).

        Args:
          features: `[..., 3 · D]`, the three concatenated on the last axis.
          sharpness: c, a scalar.
          slab: multiplies mean and log-variance: at 0 the slab is N(0, 1), at 1 it is as predicted.
          relaxed: see the class.
        """
        loc, log_variance, v = jnp.split(features, 3, axis=-1)
        log_active = jnp.minimum(-jax.nn.relu(-v), _MAX_LOG_ACTIVE)
        slab = jnp.asarray(slab, features.dtype)
        c = jnp.broadcast_to(jnp.asarray(sharpness, features.dtype), loc.shape)
        scale = jnp.exp(soft_bound(0.5 * slab * log_variance))
        return cls(slab * loc, scale, log_active, c, relaxed)

    @property
    def active(self) -> jax.Array:
        """γ: the probability that an element is not zero."""
        return jnp.exp(self.log_active)

    @property
    def log_inactive(self) -> jax.Array:
        """log(1 − γ)."""
        return jnp.log(-jnp.expm1(self.log_active))

    @property
    def mean(self) -> jax.Array:
        return self.active * self.loc

    @property
    def variance(self) -> jax.Array:
        second = self.active * (jnp.square(self.loc) + jnp.square(self.scale))
        return second - jnp.square(self.mean)

    def sample(self, key: jax.Array) -> jax.Array:
        """S(c(η − 1 + γ)) · (μ + σε), with η uniform and S the logistic function (ibid., eq. 11).

        If not `relaxed`, an exact sample, the limit c → ∞, with the gradient of the relaxed one.
        """
        noise_key, mask_key = jax.random.split(key)
        slab = self.loc + self.scale * jax.random.normal(noise_key, self.loc.shape, self.loc.dtype)
        margin = jax.random.uniform(mask_key, self.loc.shape, self.loc.dtype) - 1.0 + self.active
        mask = jax.nn.sigmoid(self.sharpness * margin)
        if not self.relaxed:
            mask = mask + jax.lax.stop_gradient((margin > 0).astype(mask.dtype) - mask)
        return mask * slab

    def log_prob(self, x: jax.Array) -> jax.Array:
        slab = self.log_active + Normal(self.loc, self.scale).log_prob(x)
        return jnp.where(x == 0.0, self.log_inactive, slab)


@register_kl(SpikeAndSlab, SpikeAndSlab)
def _kl(q: SpikeAndSlab, p: SpikeAndSlab) -> jax.Array:
    """Tonolini et al., UAI 2019, supplement A (which prints σ where σ² is meant)."""
    ratio = q.scale / p.scale
    slab = 0.5 * (jnp.square(ratio) + jnp.square((q.loc - p.loc) / p.scale) - 1.0) - jnp.log(ratio)
    slab = slab + q.log_active - p.log_active
    return q.active * slab + (1.0 - q.active) * (q.log_inactive - p.log_inactive)


@register_kl(SpikeAndSlab, Normal)
def _no_kl(q: SpikeAndSlab, p: Normal) -> jax.Array:
    raise ValueError(
        "a spike-and-slab posterior has no finite KL to a Gaussian prior, which is never zero: "
        "use the prior 'standard', 'pseudo_inputs' or 'vamp'"
    )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SoftAssignment:
    """A mixture of spike-and-slab distributions, with a soft assignment of events to components.

    Its samples and log-probabilities are those of the mixture. The assignment w(u | x), an
    approximate posterior of the component u, is used by the KL to it.

    Attributes:
      mixture: of U components.
      log_assignment: log w, `[B, U]`.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(continuous=True, elementwise=False)

    mixture: Mixture
    log_assignment: jax.Array

    @property
    def active(self) -> jax.Array:
        """The probability that an element is not zero under the assignment, `[B, ...]`."""
        active = cast(SparseDistribution, self.mixture.components).active
        return jnp.tensordot(jnp.exp(self.log_assignment), active, axes=1)

    @property
    def mean(self) -> jax.Array:
        return self.mixture.mean

    def sample(self, key: jax.Array) -> jax.Array:
        return self.mixture.sample(key)

    def log_prob(self, x: jax.Array) -> jax.Array:
        return self.mixture.log_prob(x)


def _component_kl(q: SpikeAndSlab, mixture: Mixture) -> jax.Array:
    """KL(q ‖ p_u) of each component u, elementwise: `[B, U, ...]`."""
    if not isinstance(mixture.components, SpikeAndSlab):
        raise ValueError(
            "a spike-and-slab posterior has no finite KL to a mixture of "
            f"{type(mixture.components).__name__}, which is never zero: use the prior 'standard', "
            "'pseudo_inputs' or 'vamp'"
        )
    p = jax.tree.map(lambda a: a[None], mixture.components)
    return _kl(jax.tree.map(lambda a: a[:, None], q), p)


@register_kl(SpikeAndSlab, SoftAssignment)
def _kl_soft_assignment(q: SpikeAndSlab, p: SoftAssignment) -> jax.Array:
    """Joint KL of (z, component): Σ_u w_u KL(q ‖ p_u) + KL(w ‖ mixture weights).

    The paper (ibid., eq. 12) omits the second term, at most log U nats, without which it is not a
    bound of KL(q ‖ mixture). That term is distributed evenly over the elements.
    """
    component_kl, w = _component_kl(q, p.mixture), jnp.exp(p.log_assignment)
    log_weights = jax.nn.log_softmax(p.mixture.logits)
    assignment_kl = jnp.sum(w * (p.log_assignment - log_weights[None]), axis=1)
    size = component_kl[0, 0].size
    trailing = (1,) * (component_kl.ndim - 2)
    w = w.reshape(*w.shape, *trailing)
    assignment_kl = assignment_kl.reshape(-1, *trailing)
    return jnp.sum(w * component_kl, axis=1) + assignment_kl / size


@register_kl(SpikeAndSlab, Mixture)
def _kl_mixture(q: SpikeAndSlab, p: Mixture) -> jax.Array:
    """The joint KL at the optimal assignment, w_u ∝ weight_u · exp(−KL(q ‖ p_u)).

    The lowest upper bound of KL(q ‖ mixture) of this form.
    """
    component_kl = _component_kl(q, p)
    log_weights = jax.nn.log_softmax(p.logits)
    logits = log_weights[None] - component_kl.reshape(*component_kl.shape[:2], -1).sum(axis=2)
    return _kl_soft_assignment(q, SoftAssignment(p, jax.nn.log_softmax(logits)))
