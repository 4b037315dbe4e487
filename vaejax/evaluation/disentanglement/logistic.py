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
    tolerance: float = 1e-5,
    iterations: int = 200,
) -> Classifier:
    """The minimum of strength · Σ −log p(y | x) + ½‖W‖², found by L-BFGS.

    It is scikit-learn's `LogisticRegression(C=strength)`: the bias is free, W multiplies x as it
    is (columns are only scaled on the way), and two classes share one W.

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
    present = jnp.arange(most) < size
    # With two classes W = ±w / 2, whose norm is half of that of w.
    penalty = jnp.where(jnp.asarray(size) == 2, 2.0, 1.0) / (2 * strength * n)

    def loss(theta: tuple[jax.Array, jax.Array]) -> jax.Array:
        weights, bias = theta
        logits = jnp.where(present[None], z @ weights + bias[None], _ABSENT)
        nll = optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
        return nll + penalty * jnp.square(weights / scale[:, None]).sum()

    solver = optax.lbfgs(
        linesearch=optax.scale_by_backtracking_linesearch(
            max_backtracking_steps=15, store_grad=True
        )
    )
    value_and_grad = optax.value_and_grad_from_state(loss)

    def step(carry: Any) -> Any:
        theta, state, number, _ = carry
        value, grad = value_and_grad(theta, state=state)
        updates, state = solver.update(grad, state, theta, value=value, grad=grad, value_fn=loss)
        steepest = jnp.maximum(*(jnp.abs(g).max() for g in grad))
        return optax.apply_updates(theta, updates), state, number + 1, steepest

    start = jnp.zeros((d, most)), jnp.zeros(most)
    (weights, bias), *_ = jax.lax.while_loop(
        lambda carry: (carry[2] < iterations) & (carry[3] > tolerance),
        step,
        (start, solver.init(start), jnp.int32(0), jnp.float32(jnp.inf)),
    )
    return Classifier(mean, scale, weights, jnp.where(present, bias, _ABSENT))


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
