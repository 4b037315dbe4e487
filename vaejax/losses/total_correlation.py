"""The total correlation of the latent by the density-ratio trick: a critic and what it says."""

import jax
import jax.numpy as jnp

from vaejax.core.game import Losses, LossTransform, Params, Trace
from vaejax.losses.latents import continuous_z
from vaejax.networks import Network


def permute_dims(key: jax.Array, z: jax.Array) -> jax.Array:
    """Each column of z `[N, D]` in a random order of its own: draws from Π q(zⱼ).

    FactorVAE (1802.05983, algorithm 1).
    """
    rows = jnp.broadcast_to(jnp.arange(z.shape[0])[:, None], z.shape)
    order = jax.random.permutation(key, rows, axis=0, independent=True)  # known before z is
    return jnp.take_along_axis(z, order, axis=0)


def total_correlation(
    critic: Network, node: int | None = None, *, group: str = "critic", name: str = "tc"
) -> LossTransform:
    """KL(q(z) ‖ Π q(zⱼ)) as FactorVAE estimates it, in nats (1802.05983, eq. 3, algorithm 2).

    A critic with two logits tells draws of z (class 0) from draws whose dimensions were shuffled
    over the batch (class 1). It makes

    - `tc` `[B]`: D₀(z) − D₁(z), the log density ratio according to the critic. Who owns the
      encoder minimises it with weight γ;
    - `critic` `[B]`: cross-entropy of the classes, of which its owner minimises the mean, ln 2 for
      a critic that knows nothing. In the first half of the batch an example is its own z; in the
      second half, one shuffled among the second half, so that the two classes are independent;
    - `critic_accuracy` `[]`: the fraction that it tells rightly.

    The paper trains on one batch and shuffles another. Here the second half is seen by the model
    as well, so each of the paper's batches is half of one of these.

    Args:
      critic: z `[B, D]` -> two logits `[B, 2]`.
      node: which stochastic node; None for all nodes side by side.
      group: name of the critic's parameter group and, with `_accuracy` after it, of its losses.
      name: of the estimate, in place of `tc`.

    Raises:
      ValueError: a node holds codes, a batch is too small to be halved and shuffled, or the
        critic does not give two logits.
    """

    def latents(trace: Trace) -> jax.Array:
        z = list(continuous_z(name, trace, node).values())
        if z[0].shape[0] < 4:
            raise ValueError(
                f"the loss {name!r} shuffles half a batch, so it needs 4 examples or more, "
                f"found {z[0].shape[0]}"
            )
        return jnp.concatenate(z, axis=1)

    def init(key: jax.Array, trace: Trace) -> Params:
        return {group: critic.init(key, latents(trace))}

    def apply(losses: Losses, params: Params, trace: Trace, key: jax.Array) -> Losses:
        z = latents(trace)
        half = z.shape[0] // 2

        def log_ratio(z: jax.Array) -> jax.Array:
            logits = critic.apply(params[group], z)
            if logits.shape != (z.shape[0], 2):
                raise ValueError(f"the critic of {name!r} must give [B, 2], found {logits.shape}")
            return logits[:, 0] - logits[:, 1]

        shuffled = permute_dims(key, z[half:])
        # Asked of one half twice, so that the critic's gradient passes through as few rows as are
        # its own, all at once.
        odds = log_ratio(jnp.concatenate([z[:half], shuffled]))
        right = jnp.concatenate([odds[:half], -odds[half:]])  # log odds of the true class
        return {
            **losses,
            name: log_ratio(z),
            group: jax.nn.softplus(-right),
            f"{group}_accuracy": (right > 0).astype(jnp.float32).mean(),
        }

    return LossTransform(init, apply)
