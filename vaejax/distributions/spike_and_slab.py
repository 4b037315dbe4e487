"""The spike-and-slab density of variational sparse coding, and its KL in closed form."""

import dataclasses

import jax
import jax.numpy as jnp

from vaejax.distributions import STATIC, Mixture, Normal, closed_form

_MOST = -1e-6  # of log γ, so that log(1 − γ) and its derivative stay finite


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SpikeAndSlab:
    """γ N(loc, scale²) + (1 − γ) δ₀, each element on its own (Tonolini et al., UAI 2019, eq. 5).

    Its density is with respect to the Lebesgue measure and a point mass at zero together.

    Attributes:
      loc: mean of the slab.
      scale: standard deviation of the slab.
      log_active: log γ < 0, the log-probability that the element is not zero.
      sharpness: c of the relaxed draw, of the same shape.
      relaxed: whether `sample` gives the relaxed draw or the exact one.
    """

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
        """Mean, log-variance and v side by side on the last axis; log γ = −relu(−v) (ibid.).

        Args:
          features: `[..., 3 · D]`.
          sharpness: c, a scalar.
          slab: how far the slab may be from N(0, 1), a scalar: mean and log-variance times this.
          relaxed: see the class.
        """
        loc, log_variance, v = jnp.split(features, 3, axis=-1)
        log_active = jnp.minimum(-jax.nn.relu(-v), _MOST)
        slab = jnp.asarray(slab, features.dtype)
        c = jnp.broadcast_to(jnp.asarray(sharpness, features.dtype), loc.shape)
        return cls(slab * loc, jnp.exp(0.5 * slab * log_variance), log_active, c, relaxed)

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

        If not `relaxed`, the limit c → ∞, an exact draw, with the gradient of the relaxed one.
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


@closed_form(SpikeAndSlab, SpikeAndSlab)
def _kl(q: SpikeAndSlab, p: SpikeAndSlab) -> jax.Array:
    """Tonolini et al., UAI 2019, supplement A (which prints σ where σ² is meant)."""
    ratio = q.scale / p.scale
    slab = 0.5 * (jnp.square(ratio) + jnp.square((q.loc - p.loc) / p.scale) - 1.0) - jnp.log(ratio)
    slab = slab + q.log_active - p.log_active
    return q.active * slab + (1.0 - q.active) * (q.log_inactive - p.log_inactive)


@closed_form(SpikeAndSlab, Normal)
def _no_kl(q: SpikeAndSlab, p: Normal) -> jax.Array:
    raise ValueError(
        "a spike-and-slab posterior has no finite KL to a Gaussian prior, which is never zero: "
        "take the prior 'standard', 'pseudo_inputs' or 'vamp'"
    )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Chosen:
    """A mixture of spike-and-slab densities of a whole latent, its component chosen for each event.

    As a prior it is the mixture, whatever the choice; the choice is the posterior of which
    component it was, w(u | x).

    Attributes:
      mixture: of U components.
      log_choice: log w, `[B, U]`.
    """

    mixture: Mixture
    log_choice: jax.Array

    @property
    def active(self) -> jax.Array:
        """The probability that an element is not zero under the choice, `[B, ...]`."""
        return jnp.tensordot(jnp.exp(self.log_choice), self.mixture.components.active, axes=1)

    @property
    def mean(self) -> jax.Array:
        return self.mixture.mean

    def sample(self, key: jax.Array) -> jax.Array:
        return self.mixture.sample(key)

    def log_prob(self, x: jax.Array) -> jax.Array:
        return self.mixture.log_prob(x)


def _each(q: SpikeAndSlab, mixture: Mixture) -> jax.Array:
    """KL(q ‖ each component), elementwise: `[B, U, ...]`."""
    if not isinstance(mixture.components, SpikeAndSlab):
        raise ValueError(
            "a spike-and-slab posterior has no finite KL to a mixture of "
            f"{type(mixture.components).__name__}, which is never zero: take the prior 'standard', "
            "'pseudo_inputs' or 'vamp'"
        )
    p = jax.tree.map(lambda a: a[None], mixture.components)
    return _kl(jax.tree.map(lambda a: a[:, None], q), p)


@closed_form(SpikeAndSlab, Chosen)
def _kl_chosen(q: SpikeAndSlab, p: Chosen) -> jax.Array:
    """KL of (z, component) together: Σ_u w_u KL(q ‖ p_u) + KL(w ‖ mixture weights).

    The paper (ibid., eq. 12) leaves out the second term, at most log U nats, without which it is
    no bound of KL(q ‖ mixture). It is spread evenly over the elements.
    """
    each, w = _each(q, p.mixture), jnp.exp(p.log_choice)
    log_weights = jax.nn.log_softmax(p.mixture.logits)
    choice = jnp.sum(w * (p.log_choice - log_weights[None]), axis=1)
    size = each[0, 0].size
    w = w.reshape(*w.shape, *(1,) * (each.ndim - 2))
    choice = choice.reshape(-1, *(1,) * (each.ndim - 2))
    return jnp.sum(w * each, axis=1) + choice / size


@closed_form(SpikeAndSlab, Mixture)
def _kl_mixture(q: SpikeAndSlab, p: Mixture) -> jax.Array:
    """The same for the best of all choices, w_u ∝ weight_u · exp(−KL(q ‖ p_u)).

    An upper bound of KL(q ‖ mixture), and the lowest of this kind.
    """
    each = _each(q, p)
    log_weights = jax.nn.log_softmax(p.logits)
    scores = log_weights[None] - each.reshape(*each.shape[:2], -1).sum(axis=2)
    return _kl_chosen(q, Chosen(p, jax.nn.log_softmax(scores)))
