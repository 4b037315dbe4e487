"""Losses whose gradients at the model's output have fixed shares, whatever their scales."""

import dataclasses
from collections.abc import Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp

from vaejax.core.game import Losses, LossTransform, Params, Trace
from vaejax.core.registry import near_names
from vaejax.core.types import Weight
from vaejax.distributions import Distribution, in_base_units

__all__ = ["balanced"]

_DELTA = 1e-12


def _shifted(p: Distribution, shift: jax.Array) -> Distribution:
    """The density moved by a shift of the size of its location."""
    if not (dataclasses.is_dataclass(p) and hasattr(p, "loc")):
        raise ValueError(
            f"balanced losses are for likelihoods with a location, as 'normal' and 'laplace' have; "
            f"found {type(p).__name__}"
        )
    moved: Distribution = dataclasses.replace(cast(Any, p), loc=cast(Any, p).loc + shift)
    return moved


def balanced(
    terms: LossTransform,
    weights: Mapping[str, Weight],
    *,
    total: float = 1.0,
    group: str = "balance",
) -> LossTransform:
    """`balanced` `[]`: Σ λ_i L_i, with λ_i such that each loss has its share of the gradient.

    The balancer of EnCodec (2210.13438, section 3.4): with g_i = ∂ L_i / ∂ x̂ the gradient of an
    example's loss at the output x̂ and ‖·‖ the mean of its norm over the batch,
    λ_i = R · w_i / (Σ_j w_j · ⟨‖g_i‖⟩), where ⟨·⟩ is a moving average over the steps and R the
    total. The λ are constants. So w are shares, which need not be tuned again when a loss changes
    its scale.

    Also adds `gradient_norm/LOSS` `[]`, the ‖g_i‖ of the batch. Their moving averages are the group
    `balance`, of a player with the optimizer `moving_average`.

    Args:
      terms: make the losses, which come before in the chain too, from a trace; their parameters
        are those of the family.
      weights: loss -> w_i, a number or a schedule. The losses are made by `terms`.
      total: R.
      group: name of the group of moving averages.

    Raises:
      ValueError: `terms` makes no such loss, or the likelihood has no location.
    """

    def values(shift: jax.Array, params: Params, trace: Trace, key: jax.Array) -> Losses:
        moved = trace._replace(likelihood=_shifted(trace.likelihood, shift))
        named = terms.apply({}, params, moved, key)
        for name in weights:
            if name not in named:
                raise ValueError(f"cannot balance the loss {near_names(name, named)}")
        return {name: named[name].mean() for name in weights}

    def norms(params: Params, trace: Trace, key: jax.Array) -> dict[str, jax.Array]:
        params, trace = jax.lax.stop_gradient((params, trace))
        shift = jnp.zeros_like(trace.x)
        _, pullback = jax.vjp(lambda s: values(s, params, trace, key), shift)

        def norm(name: str) -> jax.Array:
            one = {other: jnp.asarray(float(other == name)) for other in weights}
            (gradient,) = pullback(one)
            rows = gradient.reshape(gradient.shape[0], -1)
            # The values are means over the batch, hence the factor: one for each example.
            return float(rows.shape[0]) * jnp.sqrt(jnp.square(rows).sum(axis=1)).mean()

        return {f"gradient_norm/{name}": norm(name) for name in weights}

    def init(key: jax.Array, trace: Trace) -> Params:
        del key, trace
        return {group: {f"gradient_norm/{name}": jnp.zeros(()) for name in weights}}

    def apply(losses: Losses, params: Params, trace: Trace, key: jax.Array) -> Losses:
        p, x, _ = in_base_units(trace.likelihood, trace.x)
        trace = trace._replace(likelihood=p, x=x)
        current = norms(params, trace, key)
        averages = jax.lax.stop_gradient(params[group])
        shares = {
            name: jnp.asarray(w(trace.step) if callable(w) else w, jnp.float32)
            for name, w in weights.items()
        }
        scale = total / jnp.maximum(jnp.stack(list(shares.values())).sum(), _DELTA)
        parts = []
        for name, share in shares.items():
            average = averages[f"gradient_norm/{name}"]
            # Before the first update there is no average: the norm of the batch in its place.
            norm = jnp.where(average > 0, average, current[f"gradient_norm/{name}"])
            weight = (scale * share).astype(norm.dtype) / jnp.maximum(norm, _DELTA)
            parts.append(weight * losses[name].mean())
        return {**losses, **current, "balanced": jnp.stack(parts).sum()}

    names = tuple(f"gradient_norm/{name}" for name in weights)
    return LossTransform(init, apply, ("balanced", *names))
