"""Adversarial losses: a discriminator of data and decoder outputs, and its feature distance."""

import dataclasses
from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp

from vaejax.core.game import Losses, LossTransform, Params, Trace
from vaejax.core.registry import near_names
from vaejax.core.types import PyTree
from vaejax.distributions import Normal, WithMissing, in_base_units
from vaejax.losses.adaptive_weight import AdaptiveWeight, gradient_ratio, reconstruction_loss
from vaejax.losses.adversarial_objectives import OBJECTIVES, mean_of_positions
from vaejax.losses.base import event_log_prob, sum_event
from vaejax.networks import Network

__all__ = ["OBJECTIVES", "Adversarial", "adversarial"]


_TINY = 1e-8


@dataclasses.dataclass(frozen=True)
class Adversarial:
    """The parts of the transform that `adversarial` returns; the attributes are its arguments."""

    discriminator: Network
    objective: str
    prior_samples: bool
    real_weight: float
    feature_scale: float
    r1: bool
    lecam: bool
    feature_matching: bool
    adaptive: AdaptiveWeight | None
    group: str

    @property
    def averages(self) -> tuple[str, str]:
        """The names of the mean logits of data and of fakes, and of their moving averages."""
        return f"{self.group}_logit_real", f"{self.group}_logit_fake"

    def init(self, key: jax.Array, trace: Trace) -> Params:
        """The discriminator's parameters; with `lecam` also the moving averages of its logits."""
        x = _in_model_units(trace).x
        groups = {self.group: self.discriminator.init(key, x, *_condition_of(trace))}
        if self.lecam:
            groups[f"{self.group}_average"] = {name: jnp.zeros(()) for name in self.averages}
        return groups

    def apply(self, losses: Losses, params: Params, trace: Trace, key: jax.Array) -> Losses:
        """The losses with those of the discriminator and the decoder added."""
        trace = _in_model_units(trace)
        fakes = self.fakes(trace)
        chex.assert_equal_shape([trace.x, *fakes])
        c = _condition_of(trace)
        real, data_features = self.discriminator.apply(params[self.group], trace.x, *c)
        logits, features = zip(
            *(self.discriminator.apply(params[self.group], fake, *c) for fake in fakes), strict=True
        )
        chex.assert_axis_dimension(jax.tree.leaves(real)[0], 0, trace.x.shape[0])
        named = self.of_logits(real, logits)
        generator = named.pop("generator")
        named["feature"] = self.feature_distance(data_features, features[0])
        if self.objective != "gan":
            named["generator"] = generator
        if self.feature_matching:
            named["feature_matching"] = _relative_distance(data_features, features[0])
        if self.r1:
            named["r1"] = self.gradient_penalty(params, trace)
        if self.lecam:
            named |= self.of_averages(params[f"{self.group}_average"], real, logits)
        if self.adaptive:
            balance = self.balance(params, trace, self.adaptive, key)
            named["generator_balanced"] = balance * generator
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

    def of_logits(self, real: PyTree, fakes: Sequence[PyTree]) -> dict[str, jax.Array]:
        """The losses `[B]` that are functions of the logits of data and of each fake."""
        loss_of = OBJECTIVES[self.objective]
        gan_real = mean_of_positions(real, loss_of.real)
        gan_fakes = jnp.stack([mean_of_positions(d, loss_of.fake) for d in fakes])  # [F, B]
        generator = jnp.asarray(sum(mean_of_positions(d, loss_of.generator) for d in fakes))

        def positive(d: jax.Array) -> jax.Array:
            return (d > loss_of.threshold).astype(jnp.float32)

        def negative(d: jax.Array) -> jax.Array:
            return (d < loss_of.threshold).astype(jnp.float32)

        correct_fakes = jnp.stack([mean_of_positions(d, negative) for d in fakes]).mean(axis=0)
        return {
            "gan": self.real_weight * gan_real + gan_fakes.sum(axis=0),
            "gan_real": gan_real,
            "gan_fake": gan_fakes.mean(axis=0),
            "generator": generator,
            f"{self.group}_accuracy": 0.5 * (mean_of_positions(real, positive) + correct_fakes),
        }

    def of_averages(
        self, averages: Params, real: PyTree, fakes: Sequence[PyTree]
    ) -> dict[str, jax.Array]:
        """The LeCam regulariser and the mean logits, `[B]` each."""
        real_name, fake_name = self.averages
        anchors = jax.lax.stop_gradient(averages)
        on_real = mean_of_positions(real, lambda d: jnp.square(d - anchors[fake_name]))
        on_fakes = [
            mean_of_positions(fake, lambda d: jnp.square(d - anchors[real_name])) for fake in fakes
        ]
        means = jnp.stack([mean_of_positions(fake) for fake in fakes])
        return {
            "lecam": on_real + jnp.stack(on_fakes).mean(axis=0),
            real_name: mean_of_positions(real),
            fake_name: means.mean(axis=0),
        }

    def feature_distance(self, data: PyTree, fake: PyTree) -> jax.Array:
        """−log N(data | fake, feature_scale²) in the intermediate layers, `[B]`."""
        pairs = zip(jax.tree.leaves(data), jax.tree.leaves(fake), strict=True)
        terms = [-event_log_prob(Normal(b, jnp.full_like(b, self.feature_scale)), a)
                 for a, b in pairs]  # fmt: skip
        return jnp.stack(terms).sum(axis=0)

    def gradient_penalty(self, params: Params, trace: Trace) -> jax.Array:
        """½ ‖∇_x D(x)‖² on data, `[B]`, D being the mean of an event's logits."""
        c = _condition_of(trace)

        def total(x: jax.Array) -> jax.Array:
            logits, _ = self.discriminator.apply(params[self.group], x, *c)
            return mean_of_positions(logits).sum()

        return 0.5 * sum_event(jnp.square(jax.grad(total)(trace.x)))

    def balance(
        self, params: Params, trace: Trace, adaptive: AdaptiveWeight, key: jax.Array
    ) -> jax.Array:
        """λ, a constant `[]`."""
        trace, c = jax.lax.stop_gradient((trace, _condition_of(trace)))
        zs = tuple(node.z for node in trace.latents)

        def feature(params: Params, fake: jax.Array) -> jax.Array:
            data_features, fake_features = (
                self.discriminator.apply(params[self.group], x, *c)[1] for x in (trace.x, fake)
            )
            return self.feature_distance(data_features, fake_features)

        def numerator(params: Params) -> jax.Array:
            return reconstruction_loss(adaptive, params, trace, zs, key, feature)

        def denominator(params: Params) -> jax.Array:
            fake = adaptive.decode(params, zs).mean
            logits, _ = self.discriminator.apply(params[self.group], fake, *c)
            return mean_of_positions(logits, OBJECTIVES[self.objective].generator).mean()

        return gradient_ratio(params, adaptive.layer, numerator, denominator)


def _relative_distance(data: PyTree, fake: PyTree) -> jax.Array:
    """Mean absolute difference of features over the mean size of the data's, `[B]`."""

    def of_map(a: jax.Array, b: jax.Array) -> jax.Array:
        return mean_of_positions(a - b, jnp.abs) / (mean_of_positions(a, jnp.abs) + _TINY)

    return jnp.stack(jax.tree.leaves(jax.tree.map(of_map, data, fake))).mean(axis=0)


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
    lecam: bool = False,
    feature_matching: bool = False,
    adaptive: AdaptiveWeight | None = None,
    group: str = "discriminator",
) -> LossTransform:
    """The losses of VAE-GAN (Larsen et al., 1512.09300) and of VQGAN (2012.09841).

    Fakes x̃ are the mean of the reconstruction and, with `prior_samples`, that of
    `trace.generated`. The discriminator is the parameter group `discriminator`. The weights of the
    players decide which gradients are used: VAE-GAN's encoder has none of `gan` or `generator`. A
    discriminator with several logits for an event (of patches, of several scales) has the mean of
    their losses.

    Adds, `[B]` each:
      `gan`: the discriminator's loss, `real_weight` · `gan_real` + the sum over fakes
        (algorithm 1).
      `gan_real`, `gan_fake`: of the data, and the mean over fakes; log 2 nats each for an undecided
        discriminator (1 for `hinge`).
      `generator`: the decoder's loss, summed over fakes; absent for `gan`, where it is −`gan`.
      `feature`: −log N(D_l(x) | D_l(x̃), feature_scale²) with x̃ the reconstruction, summed over the
        discriminator's intermediate layers l (eq. 7 and 8).
      `feature_matching`: if so, the mean over layers of ‖D_l(x) − D_l(x̃)‖₁ / ‖D_l(x)‖₁ (as in
        EnCodec, 2210.13438, with the norm of the event in place of that of the batch).
      `r1`: if `r1`, ½ ‖∇_x D(x)‖² on data, D the logit or the mean of all (1801.04406, eq. 9 at
        γ = 1).
      `lecam`: if `lecam`, (D(x) − α_F)² + (D(x̃) − α_R)² with the moving averages α of the logits
        of data and of fakes (2104.03310). The averages are the group
        `discriminator_average`, of a player with the optimizer `moving_average`, which follows the
        losses `discriminator_logit_real` and `discriminator_logit_fake`.
      `generator_balanced`: if `adaptive`, λ · the decoder's loss, λ a constant of the batch.
      `discriminator_accuracy`: of data and fakes, each weighted one half.

    λ = ‖∇ L‖ / (‖∇ L_G‖ + δ) in the weights of the decoder's last layer is VQGAN's adaptive weight
    (2012.09841, eq. 7), with L `nll`, `feature` or a sum of losses, and L_G of the reconstructions.
    The transform decodes again for this, which the compiler merges with the forward pass.

    Args:
      discriminator: events `[B, ...]` (and the condition, where the trace has one) -> (logits
        `[B, ...]`, features `[B, ...]`), each an array or a tuple of arrays.
      objective: `gan`, `non_saturating`, `hinge` or `least_squares`.
      prior_samples: whether samples from the prior are fakes too; needs
        `autoencoder(generated=True)`.
      real_weight: of the data in `gan`, where each fake has 1.
      feature_scale: standard deviation in the intermediate layer.
      r1: whether to make the loss `r1`.
      lecam: whether to make the loss `lecam`.
      feature_matching: whether to make the loss `feature_matching`.
      adaptive: how λ is computed; None for no `generator_balanced`.
      group: name of the discriminator's parameter group, and prefix of `_accuracy`.

    Raises:
      ValueError: an unknown objective, or an unknown loss of the adaptive weight.
    """
    if objective not in OBJECTIVES:
        raise ValueError(f"unknown adversarial objective {near_names(objective, OBJECTIVES)}")
    if adaptive and adaptive.terms is None and adaptive.loss not in ("nll", "feature"):
        raise ValueError(
            "cannot balance the generator with "
            f"{near_names(str(adaptive.loss), ('nll', 'feature'))}"
        )
    losses = Adversarial(
        discriminator, objective, prior_samples, real_weight, feature_scale, r1, lecam,
        feature_matching, adaptive, group,
    )  # fmt: skip
    return LossTransform(losses.init, losses.apply, ("generator_balanced",) if adaptive else ())
