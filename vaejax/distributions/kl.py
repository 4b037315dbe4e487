"""KL(q ‖ p): closed forms for pairs of types, which users may add, else one sample."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from vaejax.core.distribution import Distribution
from vaejax.distributions.elementary import Bernoulli, Categorical, Normal, Uniform
from vaejax.distributions.missing import WithMissing
from vaejax.distributions.one_hot_codes import OneHotCodes

__all__ = ["has_closed_form", "kl", "register_kl"]

Rule = TypeVar("Rule", bound=Callable[[Any, Any], jax.Array])
_CLOSED_FORMS: dict[tuple[type, type], Callable[[Any, Any], jax.Array]] = {}


def register_kl(q: type, p: type) -> Callable[[Rule], Rule]:
    """Decorator that registers `(q, p) -> nats` as the closed form of KL(q ‖ p) of two types."""

    def decorator(rule: Rule) -> Rule:
        _CLOSED_FORMS[q, p] = rule
        return rule

    return decorator


def _complete(p: Distribution) -> Distribution:
    return p.base if isinstance(p, WithMissing) else p


def has_closed_form(q: Distribution, p: Distribution) -> bool:
    """Whether `kl(q, p, z)` is exact rather than an estimate from one sample."""
    return tuple(map(type, map(_complete, (q, p)))) in _CLOSED_FORMS


def kl(q: Distribution, p: Distribution, z: jax.Array) -> jax.Array:
    """KL(q ‖ p) in nats, elementwise: closed form where one exists, else log q(z) − log p(z).

    Args:
      q: the posterior. Where an element is missing, its KL is 0.
      p: the prior.
      z: a sample from q, used where there is no closed form.
    """
    if isinstance(q, WithMissing):
        nats = kl(q.base, _complete(p), z)
        return jnp.where(q.mask.reshape(*q.mask.shape[: nats.ndim], -1)[..., 0], nats, 0.0)
    rule = _CLOSED_FORMS.get((type(q), type(p)))
    return rule(q, p) if rule else q.log_prob(z) - p.log_prob(z)


@register_kl(Normal, Normal)
def _normal_normal(q: Normal, p: Normal) -> jax.Array:
    ratio = q.scale / p.scale
    shift = (q.loc - p.loc) / p.scale
    return 0.5 * (ratio * ratio + shift * shift - 1.0) - jnp.log(ratio)


def _expected_log_ratio(log_q: jax.Array, log_p: jax.Array) -> jax.Array:
    """q (log q − log p), which is 0 where q is 0, also if p is."""
    q = jnp.exp(log_q)
    ratio = jnp.where(q > 0, log_q, 0.0) - jnp.where(q > 0, log_p, 0.0)
    return q * ratio


@register_kl(Bernoulli, Bernoulli)
def _bernoulli_bernoulli(q: Bernoulli, p: Bernoulli) -> jax.Array:
    log_sigmoid = jax.nn.log_sigmoid
    on = _expected_log_ratio(log_sigmoid(q.logits), log_sigmoid(p.logits))
    return on + _expected_log_ratio(log_sigmoid(-q.logits), log_sigmoid(-p.logits))


@register_kl(Categorical, Categorical)
def _categorical_categorical(q: Categorical, p: Categorical) -> jax.Array:
    log_q, log_p = jax.nn.log_softmax(q.logits), jax.nn.log_softmax(p.logits)
    return _expected_log_ratio(log_q, log_p).sum(axis=-1)


@register_kl(Categorical, Uniform)
def _categorical_uniform(q: Categorical, p: Uniform) -> jax.Array:
    log_q = jax.nn.log_softmax(q.logits)
    return _expected_log_ratio(log_q, jnp.zeros_like(log_q)).sum(axis=-1) + jnp.log(float(p.size))


@register_kl(OneHotCodes, Uniform)
def _codes_uniform(q: OneHotCodes, p: Uniform) -> jax.Array:
    return jnp.where(q.indices >= 0, jnp.log(float(p.size)), jnp.float32(0.0))


@register_kl(OneHotCodes, Categorical)
def _codes_categorical(q: OneHotCodes, p: Categorical) -> jax.Array:
    return jnp.where(q.indices >= 0, -p.log_prob(jnp.maximum(q.indices, 0)), 0.0)
