"""Losses of quantizers."""

import jax
import jax.numpy as jnp

from vaejax import distributions
from vaejax.core.game import Losses, LossTransform, Trace
from vaejax.losses.base import stateless, sum_event

__all__ = ["code_entropies", "vq"]

_MAX_BITS = 18  # of a joint distribution over codes: 1 MiB


def _codes(loss: str, trace: Trace) -> list[distributions.Quantized]:
    """The posteriors of quantizers.

    Raises:
      ValueError: there are none.
    """
    posteriors = [node.posterior for node in trace.latents]
    codes = [q for q in posteriors if distributions.is_quantized(q)]
    if not codes:
        found = [type(q).__name__ for q in posteriors]
        raise ValueError(f"the loss {loss!r} needs a quantizer, but the posteriors are {found}")
    return codes


def vq() -> LossTransform:
    """`vq` `[B, L]`: ‖z_e − e‖², summed over tokens and dimensions, one column per quantizer.

    VQ-VAE (1711.00937, eq. 3) has this term twice, with the stop-gradient on either side. Here the
    encoder's owner minimises it with the commitment weight, the codebook's owner with weight 1.
    """

    def apply(losses: Losses, trace: Trace) -> Losses:
        del losses
        distances = [sum_event(jnp.square(q.features - q.codes)) for q in _codes("vq", trace)]
        return {"vq": jnp.stack(distances, axis=-1)}

    return stateless(apply)


def code_entropies(temperature: float = 1.0) -> LossTransform:
    """`token_entropy` `[B]` and `usage_entropy` `[]` of lookup-free quantizers.

    MAGVIT-v2 (2310.05737, eq. 5): E H(p(c | token)), minimised so that assignments are confident,
    and H(E p(c | token)), maximised (by a negative weight) so that all codes are used. Both are in
    nats, times the number of tokens per example, summed over the nodes.
    p(c | token) ∝ exp(−‖token − c‖² / τ) over all 2^D codes, c = ±1, or ±1/√D on the sphere (whose
    paper, 2406.07548, has an inverse temperature in place of 2 / τ). Given the token the bits are
    independent, so the first entropy is a sum over bits. For the second, the distribution over all
    codes is the product of those of two halves of the bits, averaged over the batch by one matrix
    product. Above 2^18 codes, the bits are divided into groups of at most 18, and the second
    entropy is the sum of those of the groups: an upper bound, equal where groups are independent.

    Args:
      temperature: τ; the log-odds of a bit are 4 · |c| · feature / τ.

    Raises:
      ValueError: there is no quantizer, or one that is not lookup-free.
    """

    def entropies(q: distributions.Quantized) -> tuple[jax.Array, jax.Array]:
        bits = q.features.shape[-1]
        if q.size != 2**bits:
            raise ValueError(
                f"the loss 'token_entropy' is for lookup-free quantizers of D bits and 2^D codes, "
                f"found {q.size} codes of {bits} dimensions"
            )
        logits = 4.0 / temperature * jnp.abs(q.codes) * q.features  # of + against −
        on, off = jax.nn.log_sigmoid(logits), jax.nn.log_sigmoid(-logits)
        present = (q.indices >= 0).astype(logits.dtype)  # 0 at padding
        entropy = -(jnp.exp(on) * on + jnp.exp(off) * off)
        token_entropy = sum_event(present[..., None] * entropy)  # [B]

        def joint(bits_on: jax.Array, bits_off: jax.Array) -> jax.Array:  # [N, D] -> [N, 2^D]
            p = jnp.ones((bits_on.shape[0], 1))
            for i in range(bits_on.shape[1]):
                pair = jnp.stack([jnp.exp(bits_off[:, i]), jnp.exp(bits_on[:, i])], axis=1)
                p = (pair[:, :, None] * p[:, None, :]).reshape(p.shape[0], -1)
            return p

        tokens, weight = jnp.maximum(present.sum(), 1.0), present.reshape(-1, 1)

        def usage(on: jax.Array, off: jax.Array) -> jax.Array:  # [N, D] -> []
            half = on.shape[1] // 2
            low, high = joint(on[:, :half], off[:, :half]), joint(on[:, half:], off[:, half:])
            mean = high.T @ (weight * low) / tokens  # [2^(D - half), 2^half]
            return -jax.scipy.special.xlogy(mean, mean).sum(axis=1).sum()

        on, off = on.reshape(-1, bits), off.reshape(-1, bits)
        groups = -(-bits // _MAX_BITS)
        parts = zip(
            jnp.array_split(on, groups, axis=1), jnp.array_split(off, groups, axis=1), strict=True
        )
        usage_entropy = jnp.sum(jnp.stack([usage(*part) for part in parts]))
        return token_entropy, tokens / float(q.features.shape[0]) * usage_entropy

    def apply(losses: Losses, trace: Trace) -> Losses:
        del losses
        nodes = [entropies(q) for q in _codes("token_entropy", trace)]
        token, usage = (sum(values[1:], values[0]) for values in zip(*nodes, strict=True))
        return {"token_entropy": token, "usage_entropy": usage}

    return stateless(apply, batch_statistics=("usage_entropy",))
