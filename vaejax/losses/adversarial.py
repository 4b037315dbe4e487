"""Adversarial losses: a discriminator of data and decoder outputs, and its feature distance."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from vaejax.core.game import Losses, LossTransform, Params, Trace
from vaejax.core.registry import near_names
from vaejax.distributions import Normal, WithMissing, in_base_units
from vaejax.losses.adaptive_weight import AdaptiveWeight, gradient_ratio
from vaejax.losses.base import event_log_prob, sum_event
from vaejax.networks import Network

__all__ = ["OBJECTIVES", "Adversarial", "Objective", "adversarial"]


class Objective(NamedTuple):
    """Losses as functions of the discriminator's logit (positive for "data"), elementwise.

    Attributes:
      real: the discriminator's loss on data.
      fake: the discriminator's loss on a fake.
      generator: the decoder's loss on a fake.
    """

    real: Callable[[jax.Array], jax.Array]
    fake: Callable[[jax.Array], jax.Array]
    generator: Callable[[jax.Array], jax.Array]


def _hinge(logits: jax.Array) -> jax.Array:
    return jax.nn.relu(1.0 + logits)


OBJECTIVES: dict[str, Objective] = {
    # −log D(x), −log(1 − D(x̃)), and minus the latter for the decoder (1406.2661, eq. 1).
    "gan": Objective(lambda d: jax.nn.softplus(-d), jax.nn.softplus, lambda d: -jax.nn.softplus(d)),
    # The decoder minimises −log D(x̃) instead (1406.2661, section 3).
    "non_saturating": Objective(
        lambda d: jax.nn.softplus(-d), jax.nn.softplus, lambda d: jax.nn.softplus(-d)
    ),
    # Geometric GAN (1705.02894, eq. 20 and 21); VQGAN's code.
    "hinge": Objective(lambda d: _hinge(-d), _hinge, lambda d: -d),
}


@dataclasses.dataclass(frozen=True)
class Adversarial:
    """The parts of the transform that `adversarial` returns; the attributes are its arguments."""

    discriminator: Network
    objective: str
    prior_samples: bool
    real_weight: float
    feature_scale: float
    r1: bool
    adaptive: AdaptiveWeight | None
    group: str

    def init(self, key: jax.Array, trace: Trace) -> Params:
        """The discriminator's parameters."""
        x = _in_model_units(trace).x
        return {self.group: self.discriminator.init(key, x, *_condition_of(trace))}

    def apply(self, losses: Losses, params: Params, trace: Trace, key: jax.Array) -> Losses:
        """The losses with those of the discriminator and the decoder added."""
        del key
        trace = _in_model_units(trace)
        fakes = self.fakes(trace)
        chex.assert_equal_shape([trace.x, *fakes])
        c = _condition_of(trace)
        real, data_features = self.discriminator.apply(params[self.group], trace.x, *c)
        logits, features = zip(
            *(self.discriminator.apply(params[self.group], fake, *c) for fake in fakes), strict=True
        )
        chex.assert_shape([real, *logits], (trace.x.shape[0],))
        named = self.of_logits(real, logits)
        generator = named.pop("generator")
        named["feature"] = self.feature_distance(data_features, features[0])
        if self.objective != "gan":
            named["generator"] = generator
        if self.r1:
            named["r1"] = self.gradient_penalty(params, trace)
        if self.adaptive:
            named["generator_balanced"] = self.balance(params, trace, self.adaptive) * generator
        return {**losses, **named}

    def fakes(self, trace: Trace) -> list[jax.Array]:
        """The reconstruction and, with `prior_samples`, a sample of the model, `[B, ...]` each."""
        fakes = [trace.likelihood.mean]
        if self.prior_samples:
            if trace.generated is None:
                raise ValueError(
                    "the adversarial losses need samples from the prior, but the trace has none: "
                    "build the model with generated=True, or the losses with prior_samples=False"
                )
            fakes.append(trace.generated.mean)
        return fakes

    def of_logits(self, real: jax.Array, fakes: Sequence[jax.Array]) -> dict[str, jax.Array]:
        """The losses that are functions of the logits `[B]` of data and of each fake."""
        loss_of = OBJECTIVES[self.objective]
        gan_real = loss_of.real(real)
        gan_fakes = jnp.stack([loss_of.fake(d) for d in fakes])  # [F, B]
        generator = jnp.asarray(sum(loss_of.generator(d) for d in fakes))
        correct_fakes = jnp.stack([d < 0 for d in fakes]).astype(jnp.float32).mean(axis=0)
        return {
            "gan": self.real_weight * gan_real + gan_fakes.sum(axis=0),
            "gan_real": gan_real,
            "gan_fake": gan_fakes.mean(axis=0),
            "generator": generator,
            f"{self.group}_accuracy": 0.5 * ((real > 0).astype(jnp.float32) + correct_fakes),
        }

    def feature_distance(self, data: jax.Array, fake: jax.Array) -> jax.Array:
        """−log N(data | fake, feature_scale²) in the intermediate layer, `[B]`."""
        return -event_log_prob(Normal(fake, jnp.full_like(fake, self.feature_scale)), data)

    def gradient_penalty(self, params: Params, trace: Trace) -> jax.Array:
        """½ ‖∇_x D(x)‖² on data, `[B]`."""
        c = _condition_of(trace)
        gradient = jax.grad(lambda x: self.discriminator.apply(params[self.group], x, *c)[0].sum())
        return 0.5 * sum_event(jnp.square(gradient(trace.x)))

    def balance(self, params: Params, trace: Trace, adaptive: AdaptiveWeight) -> jax.Array:
        """λ, a constant `[]`."""
        trace, c = jax.lax.stop_gradient((trace, _condition_of(trace)))
        zs = tuple(node.z for node in trace.latents)

        def reconstruction_loss(params: Params) -> jax.Array:
            p = adaptive.decode(params, zs)
            if adaptive.loss == "nll":
                return -event_log_prob(p, trace.x).mean()
            data_features, fake_features = (
                self.discriminator.apply(params[self.group], x, *c)[1] for x in (trace.x, p.mean)
            )
            return self.feature_distance(data_features, fake_features).mean()

        def generator_loss(params: Params) -> jax.Array:
            fake = adaptive.decode(params, zs).mean
            logits, _ = self.discriminator.apply(params[self.group], fake, *c)
            return OBJECTIVES[self.objective].generator(logits).mean()

        return gradient_ratio(params, adaptive.layer, reconstruction_loss, generator_loss)


def _in_model_units(trace: Trace) -> Trace:
    """The trace of a model of standardised data in its own units, as discriminators see it."""
    if isinstance(trace.likelihood, WithMissing):
        raise ValueError(
            "adversarial losses compare whole events, so they cannot honour a mask: use data "
            "without missing values or padding, or a family without a discriminator of events"
        )
    p, x, _ = in_base_units(trace.likelihood, trace.x)
    generated = trace.generated
    if generated is not None:
        generated = in_base_units(generated, trace.x)[0]
    return trace._replace(x=x, likelihood=p, generated=generated)


def _condition_of(trace: Trace) -> tuple[jax.Array, ...]:
    return () if trace.condition is None else (trace.condition,)


def adversarial(
    discriminator: Network,
    objective: str = "gan",
    *,
    prior_samples: bool = True,
    real_weight: float = 1.0,
    feature_scale: float = 1.0,
    r1: bool = False,
    adaptive: AdaptiveWeight | None = None,
    group: str = "discriminator",
) -> LossTransform:
    """The losses of VAE-GAN (Larsen et al., 1512.09300) and of VQGAN (2012.09841).

    Fakes x̃ are the mean of the reconstruction and, with `prior_samples`, that of
    `trace.generated`. The discriminator is the parameter group `discriminator`. The weights of the
    players decide which gradients are used: VAE-GAN's encoder has none of `gan` or `generator`.

    Adds, `[B]` each:
      `gan`: the discriminator's loss, `real_weight` · `gan_real` + the sum over fakes
        (algorithm 1).
      `gan_real`, `gan_fake`: of the data, and the mean over fakes; log 2 nats each for an undecided
        discriminator (1 for `hinge`).
      `generator`: the decoder's loss, summed over fakes; absent for `gan`, where it is −`gan`.
      `feature`: −log N(D_l(x) | D_l(x̃), feature_scale²) with x̃ the reconstruction, summed over the
        discriminator's intermediate layer l (eq. 7 and 8).
      `r1`: if `r1`, ½ ‖∇_x D(x)‖² on data, D the logit (1801.04406, eq. 9 at γ = 1).
      `generator_balanced`: if `adaptive`, λ · the decoder's loss, λ a constant of the batch.
      `discriminator_accuracy`: of data and fakes, each weighted one half.

    λ = ‖∇ L‖ / (‖∇ L_G‖ + δ) in the weights of the decoder's last layer is VQGAN's adaptive weight
    (2012.09841, eq. 7), with L `nll` or `feature`, and L_G of the reconstructions. The transform
    decodes again for this, which the compiler merges with the forward pass.

    Args:
      discriminator: events `[B, ...]` (and the condition, where the trace has one) -> (logits
        `[B]`, features `[B, ...]`).
      objective: `gan`, `non_saturating` or `hinge`.
      prior_samples: whether samples from the prior are fakes too; needs
        `autoencoder(generated=True)`.
      real_weight: of the data in `gan`, where each fake has 1.
      feature_scale: standard deviation in the intermediate layer.
      r1: whether to make the loss `r1`.
      adaptive: how λ is computed; None for no `generator_balanced`.
      group: name of the discriminator's parameter group, and prefix of `_accuracy`.

    Raises:
      ValueError: an unknown objective, or an unknown loss of the adaptive weight.
    """
    if objective not in OBJECTIVES:
        raise ValueError(f"unknown adversarial objective {near_names(objective, OBJECTIVES)}")
    if adaptive and adaptive.loss not in ("nll", "feature"):
        raise ValueError(
            f"cannot balance the generator with {near_names(adaptive.loss, ('nll', 'feature'))}"
        )
    losses = Adversarial(
        discriminator, objective, prior_samples, real_weight, feature_scale, r1, adaptive, group
    )
    return LossTransform(losses.init, losses.apply, ("generator_balanced",) if adaptive else ())
