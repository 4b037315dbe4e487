"""The few densities that VAEs need, as pytrees with `sample`, `log_prob`, `mean`, and `kl`.

Everything is elementwise and in nats: `log_prob(x)` keeps the shape of x, except that a mixture
over channels consumes the channel axis. Summing over the event's dimensions is the losses' work.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import jax
import jax.numpy as jnp

LOG_2PI = 1.8378770664093453
STATIC = {"static": True}  # part of the type, not an array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Normal:
    """Independent Gaussians with mean `loc` and standard deviation `scale`, of one shape."""

    loc: jax.Array
    scale: jax.Array

    @classmethod
    def from_features(cls, features: jax.Array) -> "Normal":
        """Mean and log-variance side by side on the last axis (1312.6114, appendix C.2)."""
        loc, log_variance = jnp.split(features, 2, axis=-1)
        return cls(loc, jnp.exp(0.5 * log_variance))

    @property
    def mean(self) -> jax.Array:
        return self.loc

    @property
    def variance(self) -> jax.Array:
        return jnp.square(self.scale)

    def sample(self, key: jax.Array) -> jax.Array:
        """A reparameterised draw."""
        noise = jax.random.normal(key, self.loc.shape, self.loc.dtype)
        return self.loc + self.scale * noise

    def log_prob(self, x: jax.Array) -> jax.Array:
        z = (x - self.loc) / self.scale
        return -0.5 * (z * z + LOG_2PI) - jnp.log(self.scale)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Bernoulli:
    """Independent coin tosses given by `logits`.

    For x strictly between 0 and 1 (grey levels) `log_prob` is the usual cross-entropy, which is
    not the density of anything; binarise the data where likelihoods are to be compared.
    """

    logits: jax.Array

    @property
    def mean(self) -> jax.Array:
        return jax.nn.sigmoid(self.logits)

    def sample(self, key: jax.Array) -> jax.Array:
        draw = jax.random.bernoulli(key, self.mean)
        return draw.astype(self.logits.dtype)

    def log_prob(self, x: jax.Array) -> jax.Array:
        return x * self.logits - jax.nn.softplus(self.logits)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Categorical:
    """One of K classes, given by `logits` `[..., K]`; x is int32 `[...]`."""

    logits: jax.Array

    @property
    def mean(self) -> jax.Array:
        """Class probabilities `[..., K]`: the mean of the one-hot vector."""
        return jax.nn.softmax(self.logits)

    def sample(self, key: jax.Array) -> jax.Array:
        return jax.random.categorical(key, self.logits).astype(jnp.int32)

    def log_prob(self, x: jax.Array) -> jax.Array:
        log_p = jax.nn.log_softmax(self.logits)
        return jnp.take_along_axis(log_p, x[..., None], axis=-1)[..., 0]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Uniform:
    """Every one of `size` codes is equally likely: the prior that a VQ-VAE trains under."""

    size: int = dataclasses.field(metadata=STATIC)
    shape: tuple[int, ...] = dataclasses.field(default=(), metadata=STATIC)

    def sample(self, key: jax.Array) -> jax.Array:
        return jax.random.randint(key, self.shape, 0, self.size, jnp.int32)

    def log_prob(self, x: jax.Array) -> jax.Array:
        return jnp.full(x.shape, -jnp.log(float(self.size)), jnp.float32)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Codes:
    """The deterministic posterior of a quantizer: all mass on the chosen code.

    Attributes:
      features: what was quantised, z_e, `[..., D]`.
      codes: the chosen codebook entries e, `[..., D]`, through which gradients reach the codebook.
      indices: which entries, int32 `[...]`.
      size: number of entries K.
    """

    features: jax.Array
    codes: jax.Array
    indices: jax.Array
    size: int = dataclasses.field(metadata=STATIC)

    @property
    def mean(self) -> jax.Array:
        return self.codes

    def sample(self, key: jax.Array) -> jax.Array:
        del key
        return self.indices

    def log_prob(self, x: jax.Array) -> jax.Array:
        return jnp.where(x == self.indices, 0.0, -jnp.inf)


def _log_logistic_bin(
    x: jax.Array, loc: jax.Array, scale: jax.Array, levels: int, lowest: float = 0.0
) -> jax.Array:
    """log P(bin of x) under a logistic density; x on a grid of `levels` values from `lowest`.

    The outermost bins reach to infinity. Written with
    σ(a) − σ(b) = σ(a) σ(−b) (1 − e^(b−a)), in which a − b = width / scale is known exactly, so no
    two near-equal numbers are ever subtracted.
    """
    highest = 1.0
    width = (highest - lowest) / (levels - 1)
    upper = (x + width / 2 - loc) / scale
    lower = (x - width / 2 - loc) / scale
    inner = jax.nn.log_sigmoid(upper) + jax.nn.log_sigmoid(-lower)
    inner = inner + jnp.log(-jnp.expm1(-width / scale))
    at_top = x > highest - width / 2
    at_bottom = x < lowest + width / 2
    outer = jnp.where(at_top, jax.nn.log_sigmoid(-lower), jax.nn.log_sigmoid(upper))
    return jnp.where(at_top | at_bottom, outer, inner)


def _logistic(key: jax.Array, loc: jax.Array, scale: jax.Array) -> jax.Array:
    return loc + scale * jax.random.logistic(key, loc.shape, loc.dtype)


def _to_grid(x: jax.Array, levels: int) -> jax.Array:
    return jnp.round(jnp.clip(x, 0.0, 1.0) * (levels - 1)) / (levels - 1)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DiscretizedLogistic:
    """A logistic density integrated over the bins of `levels` grey values in [0, 1].

    IAF (1606.04934, appendix C.3). The outermost bins take the tails, so the probabilities of the
    `levels` values sum to one. `mean` is the location clipped to [0, 1], which is the mean up to
    rounding and the mass beyond the ends.
    """

    loc: jax.Array
    scale: jax.Array
    levels: int = dataclasses.field(default=256, metadata=STATIC)

    @property
    def mean(self) -> jax.Array:
        return jnp.clip(self.loc, 0.0, 1.0)

    def sample(self, key: jax.Array) -> jax.Array:
        return _to_grid(_logistic(key, self.loc, self.scale), self.levels)

    def log_prob(self, x: jax.Array) -> jax.Array:
        return _log_logistic_bin(x, self.loc, self.scale, self.levels)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DiscretizedLogisticMixture:
    """A mixture of discretised logistics over whole pixels, channels in sequence.

    PixelCNN++ (1701.05517, section 2.2): one set of mixture weights a pixel; within a component,
    the location of channel c is shifted by a linear function of the channels before it. Locations,
    scales and coefficients refer to values rescaled to [-1, 1], as in the paper; x is in [0, 1].

    Attributes:
      logits: mixture weights `[..., M]`.
      loc: `[..., M, C]`.
      scale: `[..., M, C]`.
      coefficients: `[..., M, C * (C - 1) / 2]`, rows of the strictly lower triangle.
      levels: number of grey values a channel.
    """

    logits: jax.Array
    loc: jax.Array
    scale: jax.Array
    coefficients: jax.Array
    levels: int = dataclasses.field(default=256, metadata=STATIC)

    def _shifted(self, x: jax.Array) -> jax.Array:
        """Locations given the true channels x `[..., C]` in [-1, 1]: `[..., M, C]`."""
        locs, row = [], 0
        for c in range(self.loc.shape[-1]):
            weights = self.coefficients[..., row : row + c]  # [..., M, c]
            locs.append(self.loc[..., c] + jnp.sum(weights * x[..., None, :c], axis=-1))
            row += c
        return jnp.stack(locs, axis=-1)

    def log_prob(self, x: jax.Array) -> jax.Array:
        """x `[..., C]` in [0, 1] -> `[...]`: the channel axis is consumed."""
        x = 2.0 * x - 1.0
        bins = _log_logistic_bin(
            x[..., None, :], self._shifted(x), self.scale, self.levels, lowest=-1.0
        )
        log_weights = jax.nn.log_softmax(self.logits)
        return jax.nn.logsumexp(log_weights + bins.sum(axis=-1), axis=-1)

    def _roll(self, draw: Callable[[int, jax.Array, jax.Array], jax.Array]) -> jax.Array:
        """Channels one after the other, each given those before it: `[..., M, C]` in [-1, 1]."""
        channels: list[jax.Array] = []
        row = 0
        for c in range(self.loc.shape[-1]):
            loc = self.loc[..., c]
            for j, before in enumerate(channels):
                loc = loc + self.coefficients[..., row + j] * before
            channels.append(draw(c, loc, self.scale[..., c]))
            row += c
        return jnp.stack(channels, axis=-1)

    def sample(self, key: jax.Array) -> jax.Array:
        which_key, key = jax.random.split(key)

        def draw(c: int, loc: jax.Array, scale: jax.Array) -> jax.Array:
            x = _logistic(jax.random.fold_in(key, c), loc, scale)
            return 2.0 * _to_grid((x + 1.0) / 2.0, self.levels) - 1.0

        x = self._roll(draw)  # [..., M, C]
        which = jax.random.categorical(which_key, self.logits)[..., None, None]
        x = jnp.take_along_axis(x, which, axis=-2)[..., 0, :]
        return (x + 1.0) / 2.0

    @property
    def mean(self) -> jax.Array:
        """Mean over components of their clipped locations, `[..., C]` in [0, 1]."""
        x = self._roll(lambda c, loc, scale: jnp.clip(loc, -1.0, 1.0))
        weights = jax.nn.softmax(self.logits)[..., None]
        return (jnp.sum(weights * x, axis=-2) + 1.0) / 2.0


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Masked:
    """A distribution of an event part of which is given: the rest follows `base`.

    What is given has probability one, and stands in `mean` and `sample` as it is.

    Attributes:
      base: of the whole event, `[B, ...]`.
      mask: 1 where the event is to be explained, 0 where it is given; of the event's shape, or
        with one channel.
      known: the event, of which only the given part is read.
    """

    base: Any
    mask: jax.Array
    known: jax.Array

    def _filled(self, x: jax.Array) -> jax.Array:
        return jnp.where(jnp.broadcast_to(self.mask, x.shape) > 0, x, self.known)

    @property
    def mean(self) -> jax.Array:
        return self._filled(self.base.mean)

    def sample(self, key: jax.Array) -> jax.Array:
        return self._filled(self.base.sample(key))

    def log_prob(self, x: jax.Array) -> jax.Array:
        log_p = self.base.log_prob(x)
        # A density over whole pixels has consumed the channels.
        mask = self.mask if log_p.ndim == x.ndim else self.mask[..., 0]
        return jnp.where(jnp.broadcast_to(mask, log_p.shape) > 0, log_p, 0.0)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Mixture:
    """A mixture of K distributions of a whole latent, the same for all of a batch.

    `log_prob` consumes the event's axes, since which component it was is one choice for all of
    them; it has no closed-form KL.

    Attributes:
      logits: mixture weights `[K]`.
      components: a distribution, elementwise over `[K, ...]`.
      count: how many draws `sample` gives, B.
    """

    logits: jax.Array
    components: Any
    count: int = dataclasses.field(default=1, metadata=STATIC)

    @property
    def mean(self) -> jax.Array:
        """The mean of the whole mixture, once for each draw, `[B, ...]`."""
        means = self.components.mean
        mean = jnp.tensordot(jax.nn.softmax(self.logits), means, axes=1)
        return jnp.broadcast_to(mean[None], (self.count, *mean.shape))

    def sample(self, key: jax.Array, temperature: float | jax.Array = 1.0) -> jax.Array:
        """One draw for each of the batch, `[B, ...]`.

        The temperature shrinks each component toward its own mean; their weights stay.
        """
        which_key, key = jax.random.split(key)
        which = jax.random.categorical(which_key, self.logits, shape=(self.count,))
        return draw(jax.tree.map(lambda a: a[which], self.components), key, temperature)

    def log_prob(self, x: jax.Array) -> jax.Array:
        """x `[B, ...] -> [B]`: the event's axes are consumed."""
        each = jax.tree.map(lambda a: a[None], self.components).log_prob(x[:, None])  # [B, K, ...]
        each = each.reshape(*each.shape[:2], -1).sum(axis=2)
        return jax.nn.logsumexp(each + jax.nn.log_softmax(self.logits)[None], axis=1)


def draw(p: Any, key: jax.Array, temperature: float | jax.Array = 1.0) -> jax.Array:
    """A draw from `p` shrunk toward its mean, or each component of a mixture toward its own."""
    if isinstance(p, Mixture):
        return p.sample(key, temperature)
    return p.mean + temperature * (p.sample(key) - p.mean)


class Distribution(Protocol):
    """What every density here offers; a user's own needs no more."""

    @property
    def mean(self) -> jax.Array:
        """The mean, of the shape of a draw (of a one-hot draw for classes)."""

    def sample(self, key: jax.Array) -> jax.Array:
        """One draw, reparameterised where the density is continuous."""

    def log_prob(self, x: jax.Array) -> jax.Array:
        """Log-density or log-probability of x, in nats, elementwise."""


Rule = TypeVar("Rule", bound=Callable[[Any, Any], jax.Array])
_CLOSED_FORMS: dict[tuple[type, type], Callable[[Any, Any], jax.Array]] = {}


def closed_form(q: type, p: type) -> Callable[[Rule], Rule]:
    """Registers a function as the closed form of KL(q ‖ p) for these two types."""

    def register(rule: Rule) -> Rule:
        _CLOSED_FORMS[q, p] = rule
        return rule

    return register


def has_closed_form(q: Any, p: Any) -> bool:
    """Whether `kl(q, p, z)` is exact rather than a one-sample estimate."""
    return (type(q), type(p)) in _CLOSED_FORMS


def kl(q: Any, p: Any, z: jax.Array) -> jax.Array:
    """KL(q ‖ p) elementwise, in nats: closed form where one exists, else log q(z) − log p(z).

    Args:
      q: the posterior.
      p: the prior.
      z: a draw from q, used where there is no closed form.
    """
    rule = _CLOSED_FORMS.get((type(q), type(p)))
    return rule(q, p) if rule else q.log_prob(z) - p.log_prob(z)


@closed_form(Normal, Normal)
def _normal_normal(q: Normal, p: Normal) -> jax.Array:
    ratio = q.scale / p.scale
    shift = (q.loc - p.loc) / p.scale
    return 0.5 * (ratio * ratio + shift * shift - 1.0) - jnp.log(ratio)


@closed_form(Bernoulli, Bernoulli)
def _bernoulli_bernoulli(q: Bernoulli, p: Bernoulli) -> jax.Array:
    gap = jax.nn.softplus(p.logits) - jax.nn.softplus(q.logits)
    return q.mean * (q.logits - p.logits) + gap


@closed_form(Categorical, Categorical)
def _categorical_categorical(q: Categorical, p: Categorical) -> jax.Array:
    log_q, log_p = jax.nn.log_softmax(q.logits), jax.nn.log_softmax(p.logits)
    return jnp.sum(jnp.exp(log_q) * (log_q - log_p), axis=-1)


@closed_form(Categorical, Uniform)
def _categorical_uniform(q: Categorical, p: Uniform) -> jax.Array:
    log_q = jax.nn.log_softmax(q.logits)
    return jnp.sum(jnp.exp(log_q) * log_q, axis=-1) + jnp.log(float(p.size))


@closed_form(Codes, Uniform)
def _codes_uniform(q: Codes, p: Uniform) -> jax.Array:
    return jnp.full(q.indices.shape, jnp.log(float(p.size)), jnp.float32)
