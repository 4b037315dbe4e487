"""Multinomial logistic regression, compiled, and the area under a ROC curve."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

_ABSENT = -1e9  # the logit of a class that a factor does not have


class Classifier(NamedTuple):
    """Logits (x − mean) / scale @ weights + bias."""

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
    most: int,
    size: jax.Array | int,
    *,
    strength: float = 1.0,
    tolerance: float = 1e-6,
    iterations: int = 100,
) -> Classifier:
    """The minimum of strength · Σ −log p(y | x) + ½‖W‖², found by Newton's method.

    It is scikit-learn's `LogisticRegression(C=strength)`: the bias is free, W multiplies x as it
    is (columns are only scaled on the way), and two classes share one W. Steps are found by
    conjugate gradients and halved where they go up.

    Args:
      x: `[N, D]`; may be constant in a column.
      y: int32 `[N]` in 0..size−1.
      most: C, the number of columns of the answer.
      size: how many of them are classes; may be traced.
      strength: of the data against the penalty.
      tolerance: largest entry of the gradient of the mean loss at which to stop.
      iterations: at most.
    """
    n, d = x.shape
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    scale = jnp.where(deviation > 1e-7 * jnp.abs(mean) + 1e-12, deviation, 1.0)
    z = (x - mean[None]) / scale[None]
    inputs = jnp.concatenate([z, jnp.ones((n, 1), z.dtype)], axis=1)  # the bias is the last row
    present = jnp.arange(most) < size
    # With two classes W = ±w / 2, whose norm is half of that of w.
    weight = jnp.where(jnp.asarray(size) == 2, 2.0, 1.0) / (strength * n)
    penalty = weight * jnp.append(1 / jnp.square(scale), 0.0)[:, None]  # [D + 1, 1]
    target = jax.nn.one_hot(y, most, dtype=z.dtype)

    def look(theta: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """The mean loss, its gradient and Newton's step."""
        logits = jnp.where(present[None], inputs @ theta, _ABSENT)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
        loss = loss + 0.5 * (penalty * jnp.square(theta)).sum()
        p = jax.nn.softmax(logits)
        grad = inputs.T @ (p - target) / n + penalty * theta

        def curvature(v: jax.Array) -> jax.Array:
            u = inputs @ v
            return inputs.T @ (p * (u - (p * u).sum(axis=1, keepdims=True))) / n + penalty * v

        step, _ = jax.scipy.sparse.linalg.cg(curvature, -grad, tol=0.05, maxiter=50)
        return loss, grad, step

    def advance(carry: Any) -> Any:
        theta, loss, grad, step, number = carry
        found = look(theta + step)
        better = found[0] <= loss + 1e-6 * jnp.abs(loss)  # as far as rounding can tell
        now = (theta + step, *found)
        before = (theta, loss, grad, 0.5 * step)
        picked = (jnp.where(better, a, b) for a, b in zip(now, before, strict=True))
        return (*picked, number + 1)

    start = jnp.zeros((d + 1, most), z.dtype)
    theta, *_ = jax.lax.while_loop(
        lambda carry: (carry[4] < iterations) & (jnp.abs(carry[2]).max() > tolerance),
        advance,
        (start, *look(start), jnp.int32(0)),
    )
    return Classifier(mean, scale, theta[:-1], jnp.where(present, theta[-1], _ABSENT))


def roc_auc(scores: jax.Array, positive: jax.Array) -> jax.Array:
    """The chance that a positive outscores a negative, ties counted half; NaN without either.

    Args:
      scores: `[N]`.
      positive: bool `[N]`.
    """
    ordered = jnp.sort(scores)
    below = jnp.searchsorted(ordered, scores, side="left")
    upto = jnp.searchsorted(ordered, scores, side="right")
    rank = 0.5 * (below + upto + 1).astype(jnp.float32)  # ties share their mean rank
    chosen = positive.astype(jnp.float32)
    n = chosen.sum()
    mean_rank = (rank * chosen).sum() / n
    return (mean_rank - 0.5 * (n + 1)) / (chosen.size - n)
