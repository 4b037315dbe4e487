"""An adversary: a critic that tells data from what the decoder makes, and a metric of its own."""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from vaejax.core.game import Losses, LossTransform, Params, Trace
from vaejax.core.registry import near_names
from vaejax.distributions import Normal
from vaejax.losses.adaptive_weight import Adaptive, gradient_ratio
from vaejax.losses.base import event_log_prob, sum_event
from vaejax.networks import Network


class Objective(NamedTuple):
    """What is lost by a verdict (a logit, positive for "data"), elementwise.

    Attributes:
      real: by the critic, on data.
      fake: by the critic, on a fake.
      generator: by the decoder, on a fake.
    """

    real: Callable[[jax.Array], jax.Array]
    fake: Callable[[jax.Array], jax.Array]
    generator: Callable[[jax.Array], jax.Array]


def _hinge(logits: jax.Array) -> jax.Array:
    return jax.nn.relu(1.0 + logits)


OBJECTIVES: dict[str, Objective] = {
    # −log D(x) and −log(1 − D(x̃)); the decoder loses what the critic gains (1406.2661, eq. 1).
    "gan": Objective(lambda d: jax.nn.softplus(-d), jax.nn.softplus, lambda d: -jax.nn.softplus(d)),
    # The decoder minimises −log D(x̃) instead (1406.2661, section 3).
    "non_saturating": Objective(
        lambda d: jax.nn.softplus(-d), jax.nn.softplus, lambda d: jax.nn.softplus(-d)
    ),
    # Geometric GAN (1705.02894, eq. 20 and 21); VQGAN's code.
    "hinge": Objective(lambda d: _hinge(-d), _hinge, lambda d: -d),
}


def adversarial(
    critic: Network,
    objective: str = "gan",
    *,
    prior_samples: bool = True,
    real_weight: float = 1.0,
    feature_scale: float = 1.0,
    r1: bool = False,
    adaptive: Adaptive | None = None,
    group: str = "critic",
) -> LossTransform:
    """VAE-GAN (Larsen et al., 1512.09300) and its descendants; makes the group `critic`.

    Fakes x̃ are the mean of the reconstruction and, with `prior_samples`, that of
    `trace.generated`. Who minimises what is the players' affair: VAE-GAN's encoder has no weight on
    `gan` or `generator`, so that none of their gradient reaches it.

    Adds, `[B]` each:
      `gan`: the critic's loss, `real_weight` · `gan_real` + the sum over fakes (Algorithm 1).
      `gan_real`, `gan_fake`: of the data, and the mean over fakes; at an undecided critic log 2
        nats each (1 for `hinge`).
      `generator`: the decoder's loss, summed over fakes, where it is not −`gan`.
      `feature`: −log N(D_l(x) | D_l(x̃), feature_scale²), with x̃ the reconstruction, in the
        critic's middle layer, summed over it (eq. 7 and 8).
      `r1`: on request, ½ ‖∇_x D(x)‖² on data, D the logit (1801.04406, eq. 9 at γ = 1).
      `generator_balanced`: with `adaptive`, λ · the decoder's loss, λ a constant of the batch.
      `critic_accuracy`: share of right verdicts; data and fakes count half each.

    λ = ‖∇ L‖ / (‖∇ L_G‖ + δ) in the weights of the decoder's last layer is VQGAN's adaptive weight
    (2012.09841, eq. 7), with L `nll` or `feature`, and L_G of the reconstructions. For that
    the transform decodes once more, which the compiler merges with the model's own pass.

    Args:
      critic: events `[B, ...]` (and the condition, where the trace has one) -> (logits `[B]`,
        features `[B, ...]`).
      objective: `gan`, `non_saturating` or `hinge`.
      prior_samples: whether draws from the prior are fakes too; needs
        `autoencoder(generated=True)`.
      real_weight: of the data in `gan`, where each fake has 1.
      feature_scale: standard deviation in the middle layer.
      r1: whether to make the loss `r1`.
      adaptive: how to decode, and which layer and loss λ looks at; None for no such loss.
      group: name of the critic's parameter group and, before `_accuracy`, of that figure.

    Raises:
      ValueError: an unknown objective or loss to balance with.
    """
    if objective not in OBJECTIVES:
        raise ValueError(f"unknown objective of the adversary {near_names(objective, OBJECTIVES)}")
    if adaptive and adaptive.loss not in ("nll", "feature"):
        raise ValueError(
            f"cannot balance the generator with {near_names(adaptive.loss, ('nll', 'feature'))}"
        )
    lost = OBJECTIVES[objective]

    def given(trace: Trace) -> tuple[jax.Array, ...]:
        return () if trace.condition is None else (trace.condition,)

    def init(key: jax.Array, trace: Trace) -> Params:
        return {group: critic.init(key, trace.x, *given(trace))}

    def feature(data: jax.Array, fake: jax.Array) -> jax.Array:
        return -event_log_prob(Normal(fake, jnp.full_like(fake, feature_scale)), data)

    def balance(params: Params, trace: Trace, adaptive: Adaptive) -> jax.Array:
        """λ, a constant `[]`."""
        trace, c = jax.lax.stop_gradient((trace, given(trace)))
        zs = tuple(node.z for node in trace.latents)

        def wanted(params: Params) -> jax.Array:
            p = adaptive.decode(params, zs)
            if adaptive.loss == "nll":
                return -event_log_prob(p, trace.x).mean()
            of_data, of_fake = (critic.apply(params[group], x, *c)[1] for x in (trace.x, p.mean))
            return feature(of_data, of_fake).mean()

        def found(params: Params) -> jax.Array:
            fake = adaptive.decode(params, zs).mean
            return lost.generator(critic.apply(params[group], fake, *c)[0]).mean()

        return gradient_ratio(params, adaptive.layer, wanted, found)

    def apply(losses: Losses, params: Params, trace: Trace, key: jax.Array) -> Losses:
        del key
        fakes = [trace.likelihood.mean]
        if prior_samples:
            if trace.generated is None:
                raise ValueError(
                    "the adversary judges draws from the prior too, but the trace has none: build "
                    "the model with generated=True, or the adversary with prior_samples=False"
                )
            fakes.append(trace.generated.mean)
        chex.assert_equal_shape([trace.x, *fakes])
        own, c = params[group], given(trace)
        real, of_data = critic.apply(own, trace.x, *c)
        verdicts, features = zip(*(critic.apply(own, fake, *c) for fake in fakes), strict=True)
        chex.assert_shape([real, *verdicts], (trace.x.shape[0],))
        gan_real, gan_fakes = lost.real(real), jnp.stack([lost.fake(d) for d in verdicts])  # [F, B]
        generator = sum(lost.generator(d) for d in verdicts)
        right = jnp.stack([d < 0 for d in verdicts]).astype(jnp.float32).mean(axis=0)
        more = {
            "gan": real_weight * gan_real + gan_fakes.sum(axis=0),
            "gan_real": gan_real,
            "gan_fake": gan_fakes.mean(axis=0),
            "feature": feature(of_data, features[0]),
            f"{group}_accuracy": 0.5 * ((real > 0).astype(jnp.float32) + right),
        }
        if objective != "gan":
            more["generator"] = generator
        if r1:
            slope = jax.grad(lambda x: critic.apply(own, x, *c)[0].sum())(trace.x)
            more["r1"] = 0.5 * sum_event(jnp.square(slope))
        if adaptive:
            more["generator_balanced"] = balance(params, trace, adaptive) * generator
        return {**losses, **more}

    return LossTransform(init, apply)
