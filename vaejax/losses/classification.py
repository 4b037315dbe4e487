"""Losses of the classifier inside a semi-supervised model."""

import jax
import jax.numpy as jnp

from vaejax.core.game import Losses, LossTransform, Trace
from vaejax.distributions import Categorical, LabelPosterior
from vaejax.losses.base import stateless

__all__ = ["label_nll"]


def label_nll() -> LossTransform:
    """`label_nll` `[B]`: −log q(y | x) of labelled examples; 0 of those without a label.

    The classification term of M2 (Kingma et al., 1406.5298, eq. 9). The mean over a batch counts
    unlabelled examples too, so the paper's α/N is the weight of this loss times the fraction of
    labelled examples in a batch. With it comes the metric `error`: the fraction of the labelled
    examples of a batch whose most likely class is another one.
    """

    def apply(losses: Losses, trace: Trace) -> Losses:
        del losses
        q = next((n.posterior for n in trace.latents if isinstance(n.posterior, LabelPosterior)), 0)
        if not isinstance(q, LabelPosterior):
            raise ValueError(
                "the loss 'label_nll' needs a model whose class is a latent variable, such as the "
                "family 'm2'"
            )
        labelled = q.label >= 0
        nats = -Categorical(q.logits).log_prob(jnp.maximum(q.label, 0))
        wrong = labelled & (jnp.argmax(q.logits, axis=-1) != q.label)
        share = jnp.maximum(labelled.sum(), 1).astype(jnp.float32) / float(labelled.shape[0])
        return {
            "label_nll": jnp.where(labelled, nats, 0.0),
            "error": jax.lax.stop_gradient(wrong.astype(jnp.float32) / share),
        }

    return stateless(apply)
