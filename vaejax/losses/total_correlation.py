"""The total correlation of latents, estimated by a discriminator (density-ratio trick)."""

import dataclasses

import jax
import jax.numpy as jnp

from vaejax.core.game import Losses, LossTransform, Params, Trace
from vaejax.losses.latents import continuous_z
from vaejax.networks import Network

__all__ = ["TotalCorrelation", "permute_dims", "total_correlation"]


def permute_dims(key: jax.Array, z: jax.Array) -> jax.Array:
    """z `[N, D]` with each column permuted independently: samples from Π q(zⱼ).

    FactorVAE (1802.05983, algorithm 1).
    """
    rows = jnp.broadcast_to(jnp.arange(z.shape[0])[:, None], z.shape)
    order = jax.random.permutation(key, rows, axis=0, independent=True)  # independent of z
    return jnp.take_along_axis(z, order, axis=0)


@dataclasses.dataclass(frozen=True)
class TotalCorrelation:
    """The parts of the transform that `total_correlation` returns; attributes are its arguments."""

    discriminator: Network
    node: int | None
    group: str
    name: str

    def latents(self, trace: Trace) -> jax.Array:
        """z `[B, D]`, of which half a batch can be permuted."""
        z = list(continuous_z(self.name, trace, self.node).values())
        if z[0].shape[0] < 4:
            raise ValueError(
                f"the loss {self.name!r} permutes half a batch, so it needs 4 examples or more, "
                f"found {z[0].shape[0]}"
            )
        return jnp.concatenate(z, axis=1)

    def init(self, key: jax.Array, trace: Trace) -> Params:
        """The discriminator's parameters."""
        return {self.group: self.discriminator.init(key, self.latents(trace))}

    def log_ratio(self, params: Params, z: jax.Array) -> jax.Array:
        """D₀(z) − D₁(z), `[B]`: the log odds that z `[B, D]` is not permuted."""
        logits: jax.Array = self.discriminator.apply(params[self.group], z)
        if logits.shape != (z.shape[0], 2):
            raise ValueError(
                f"the discriminator of {self.name!r} must give [B, 2], found {logits.shape}"
            )
        return logits[:, 0] - logits[:, 1]

    def apply(self, losses: Losses, params: Params, trace: Trace, key: jax.Array) -> Losses:
        """The losses with the estimate and those of the discriminator added."""
        z = self.latents(trace)
        half = z.shape[0] // 2
        permuted = permute_dims(key, z[half:])
        # A second evaluation of the first half, so that the gradient of the discriminator's loss
        # passes only through the rows that it uses, in one batch.
        odds = self.log_ratio(params, jnp.concatenate([z[:half], permuted]))
        correct = jnp.concatenate([odds[:half], -odds[half:]])  # log odds of the true class
        return {
            **losses,
            self.name: self.log_ratio(params, z),
            f"{self.group}_loss": jax.nn.softplus(-correct),
            f"{self.group}_accuracy": (correct > 0).astype(jnp.float32).mean(),
        }


def total_correlation(
    discriminator: Network,
    node: int | None = None,
    *,
    group: str = "discriminator",
    name: str = "tc",
) -> LossTransform:
    """KL(q(z) ‖ Π q(zⱼ)) as FactorVAE estimates it, in nats (1802.05983, eq. 3, algorithm 2).

    A discriminator with two logits classifies samples of z (class 0) and samples whose dimensions
    are permuted over the batch (class 1). Adds

    - `tc` `[B]`: D₀(z) − D₁(z), the discriminator's log density ratio. The owner of the encoder
      minimises it with weight γ;
    - `discriminator_loss` `[B]`: cross-entropy of the classes, minimised by the discriminator's
      owner; ln 2 for an uninformative discriminator. The first half of the batch are samples of z;
      the second half are samples permuted within the second half, so that the two classes are
      independent;
    - `discriminator_accuracy` `[]`: the fraction of correct classifications.

    The paper trains on one batch and permutes another. Here the model is trained on both halves, so
    each of the paper's batches corresponds to half of one of these.

    Args:
      discriminator: z `[B, D]` -> two logits `[B, 2]`.
      node: number of the stochastic node; None for the concatenation of all nodes.
      group: name of the discriminator's parameter group; prefix of `_loss` and `_accuracy`.
      name: of the estimate, in place of `tc`.

    Raises:
      ValueError: a node holds codes, a batch is too small to be halved and shuffled, or the
        discriminator does not give two logits.
    """
    losses = TotalCorrelation(discriminator, node, group, name)
    auxiliary = (f"{group}_loss", f"{group}_accuracy")
    return LossTransform(losses.init, losses.apply, auxiliary)
