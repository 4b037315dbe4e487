"""The loss of quantizers."""

import jax.numpy as jnp

from vaejax import distributions
from vaejax.game import Losses, LossTransform, Trace
from vaejax.losses.transform import stateless, sum_event


def vq() -> LossTransform:
    """`vq` `[B, L]`: ‖z_e − e‖², summed over tokens and dimensions, one column per quantizer.

    VQ-VAE (1711.00937, eq. 3) has it twice, with the stop-gradient on one side and on the other:
    here the encoder's owner minimises it with the commitment weight, the codebook's with weight 1.
    """

    def apply(losses: Losses, trace: Trace) -> Losses:
        del losses
        codes = [
            node.posterior
            for node in trace.latents
            if isinstance(node.posterior, distributions.Codes)
        ]
        if not codes:
            found = [type(node.posterior).__name__ for node in trace.latents]
            raise ValueError(f"the loss 'vq' needs a quantizer, but the posteriors are {found}")
        distances = [sum_event(jnp.square(q.features - q.codes)) for q in codes]
        return {"vq": jnp.stack(distances, axis=-1)}

    return stateless(apply)
