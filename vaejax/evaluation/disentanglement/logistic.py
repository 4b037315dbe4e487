"""Multinomial logistic regression, compiled, and the area under a ROC curve."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from vaejax.core.types import PyTree

__all__ = ["Classifier", "logistic_regression", "roc_auc"]

_ABSENT = -1e9  # the logit of a class that a factor does not have


class Classifier(NamedTuple):
    """A linear classifier with logits (x − mean) / scale @ weights + bias."""

    mean: jax.Array  # [D]
    scale: jax.Array  # [D]
    weights: jax.Array  # [D, C]
    bias: jax.Array  # [C]

    def logits(self, x: jax.Array) -> jax.Array:
        """`[N, D] -> [N, C]`."""
        return (x - self.mean[None]) / self.scale[None] @ self.weights + self.bias[None]


def logistic_regression(
    x: jax.Array,
    y: jax.Array,
    max_classes: int,
    classes: jax.Array | int,
    *,
    strength: float = 1.0,
    tolerance: float = 1e-6,
    iterations: int = 100,
) -> Classifier:
    """The minimum of strength · Σ −log p(y | x) + ½‖W‖², found by Newton's method.

    The objective is that of scikit-learn's `LogisticRegression(C=strength)`: the bias is not
    penalised, W multiplies the unscaled x (columns are standardised internally), and two classes
    share one W. Steps are found by conjugate gradients and halved when they increase the loss.

    Args:
      x: `[N, D]`; columns may be constant.
      y: int32 `[N]` in 0..classes−1.
      max_classes: C, the number of columns of the result.
      classes: number of classes of y; may be traced.
      strength: weight of the data relative to the penalty.
      tolerance: largest entry of the gradient of the mean loss at which to stop.
      iterations: maximal number of steps.
    """
    n, d = x.shape
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    scale = jnp.where(deviation > 1e-7 * jnp.abs(mean) + 1e-12, deviation, 1.0)
    z = (x - mean[None]) / scale[None]
    inputs = jnp.concatenate([z, jnp.ones((n, 1), z.dtype)], axis=1)  # the bias is the last row
    present = jnp.arange(max_classes) < classes
    # With two classes W = ±w / 2, whose norm is half of that of w.
    weight = jnp.where(jnp.asarray(classes) == 2, 2.0, 1.0) / (strength * n)
    penalty = weight * jnp.append(1 / jnp.square(scale), 0.0)[:, None]  # [D + 1, 1]
    target = jax.nn.one_hot(y, max_classes, dtype=z.dtype)

    def loss_and_step(theta: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """The mean loss, its gradient and Newton's step."""
        logits = jnp.where(present[None], inputs @ theta, _ABSENT)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
        loss = loss + 0.5 * (penalty * jnp.square(theta)).sum()
        p = jax.nn.softmax(logits)
        grad = inputs.T @ (p - target) / n + penalty * theta

        def hessian_product(v: jax.Array) -> jax.Array:
            u = inputs @ v
            return inputs.T @ (p * (u - (p * u).sum(axis=1, keepdims=True))) / n + penalty * v

        step, _ = jax.scipy.sparse.linalg.cg(hessian_product, -grad, tol=0.05, maxiter=50)
        return loss, grad, step

    def advance(carry: PyTree) -> PyTree:
        theta, loss, grad, step, number = carry
        proposal = (theta + step, *loss_and_step(theta + step))
        halved = (theta, loss, grad, 0.5 * step)
        accept = proposal[1] <= loss + 1e-6 * jnp.abs(loss)  # up to rounding
        chosen = (jnp.where(accept, a, b) for a, b in zip(proposal, halved, strict=True))
        return (*chosen, number + 1)

    start = jnp.zeros((d + 1, max_classes), z.dtype)
    theta, *_ = jax.lax.while_loop(
        lambda carry: (carry[4] < iterations) & (jnp.abs(carry[2]).max() > tolerance),
        advance,
        (start, *loss_and_step(start), jnp.int32(0)),
    )
    return Classifier(mean, scale, theta[:-1], jnp.where(present, theta[-1], _ABSENT))


def roc_auc(scores: jax.Array, positive: jax.Array) -> jax.Array:
    """The probability that a positive outscores a negative, ties counted half.

    NaN if there are no positives or no negatives.

    Args:
      scores: `[N]`.
      positive: bool `[N]`.
    """
    ordered = jnp.sort(scores)
    below = jnp.searchsorted(ordered, scores, side="left")
    not_above = jnp.searchsorted(ordered, scores, side="right")
    rank = 0.5 * (below + not_above + 1).astype(jnp.float32)  # tied values have their mean rank
    weight = positive.astype(jnp.float32)
    n = weight.sum()
    mean_rank = (rank * weight).sum() / n
    return (mean_rank - 0.5 * (n + 1)) / (weight.size - n)
