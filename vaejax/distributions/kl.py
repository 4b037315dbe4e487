"""KL(q ‖ p): a table of closed forms, which users may extend, and one sample otherwise."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from vaejax.distributions.elementary import Bernoulli, Categorical, Normal, Uniform
from vaejax.distributions.one_hot_codes import Codes

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
    return jnp.where(q.indices >= 0, jnp.log(float(p.size)), jnp.float32(0.0))


@closed_form(Codes, Categorical)
def _codes_categorical(q: Codes, p: Categorical) -> jax.Array:
    return -p.log_prob(q.indices)
