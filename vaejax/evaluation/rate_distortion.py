"""A split by annealed importance sampling: log p(x), how sure it is, rate against distortion."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.events import event
from vaejax.core.game import Family, Latent, Params
from vaejax.core.rng import key_of
from vaejax.data import Source
from vaejax.data.batches import eval_batches
from vaejax.data.preprocess import preparation
from vaejax.distributions import Mixture, Normal
from vaejax.evaluation.annealed_importance_sampling import annealed, schedule, simulated
from vaejax.losses import event_log_prob, node_kl

ANNEALING = 9  # a stream of random keys of its own
RATE, DISTORTION = "rate/", "distortion/"  # before β in the names of figures
_POINTS = 16  # of the curve
_PRIORS = (Normal, Mixture)


def check_annealing(nodes: Sequence[Latent], batch: Mapping[str, Any]) -> None:
    """Sees whether chains can run in a model's latents.

    Args:
      nodes: of the model, of arrays or of shapes.
      batch: of the data, likewise.

    Raises:
      ValueError: it has not one node whose prior is a density that can be drawn from, or x is not
        explained as a whole.
    """
    if len(nodes) != 1 or not isinstance(nodes[0].prior, _PRIORS):
        kinds = [f"{type(node.prior).__name__} {list(node.z.shape[1:])}" for node in nodes]
        raise ValueError(
            "evaluate.annealing wants a model with one node whose prior is a density, Gaussian or "
            f"a mixture; the priors of this one are: {', '.join(kinds) or 'none'}. Importance "
            "sampling (evaluate.samples) takes any number of nodes with densities"
        )
    if "mask" in batch:
        raise ValueError(
            "evaluate.annealing is of whole events, but of these parts are given (data.quadrants); "
            "use evaluate.samples"
        )


def annealed_figures(
    family: Family,
    params: Params,
    source: Source,
    *,
    temperatures: int,
    chains: int = 16,
    leapfrog: int = 10,
    step_size: float = 0.1,
    examples: int = 100,
    batch_size: int = 100,
    seed: int = 0,
    binarize: str = "none",
) -> dict[str, float]:
    """What annealing finds out about some examples of a split; nats, means over these.

    `annealed/log_likelihood`, on average a lower bound of log p(x) which does not ask q;
    `annealed/gap`, between the upper and the lower bound of as many examples that the model itself
    makes (`simulated`), which says how tight the bounds are; `annealed/accepted`, the share of
    transitions. `rate/β` and `distortion/β` at some temperatures, the best that any encoder could
    reach with this decoder and prior (2008.06653); `rate/q` and `distortion/q`, of the model's own.

    Args:
      family: whose model.
      params: of it, on one device.
      source: the split.
      temperatures: T, from the prior to the posterior.
      chains: for each example.
      leapfrog: steps of a transition.
      step_size: of the first transition.
      examples: the first of `eval_order`; 0 for all.
      batch_size: examples at once.
      seed: of everything drawn.
      binarize: as in training.

    Raises:
      ValueError: a number is out of range.
    """
    numbers = {"temperatures": temperatures, "chains": chains, "leapfrog": leapfrog}
    for name, value in numbers.items():
        if value < 1:
            raise ValueError(f"evaluate.annealing.{name} must be at least 1, found {value}")
    size = min(examples or source.size, source.size)
    prepare, model = preparation(source, binarize), family.model
    points = np.unique(np.linspace(0, temperatures - 1, _POINTS).round().astype(int))
    how: Any = {**numbers, "step_size": step_size}

    @jax.jit
    def judge(params: Params, rows: Any, mask: jax.Array, number: Any) -> dict[str, jax.Array]:
        keys = jax.random.split(key_of(seed, ANNEALING, number), 4)
        batch = prepare(rows, keys[0])
        chain = annealed(model, params, batch, keys[1], **how)
        lower, upper = simulated(model, params, batch, keys[2], **how)

        def own(key: jax.Array) -> tuple[jax.Array, jax.Array]:
            (node,) = model.encode(params, batch, key)
            p = model.decode(params, (node.z,), batch)
            return node_kl(node), -event_log_prob(p, event(batch))

        rate, distortion = (a.mean(axis=0) for a in jax.lax.map(own, jax.random.split(keys[3], 16)))
        each = {
            "annealed/log_likelihood": chain.log_p,
            "annealed/gap": upper - lower,
            "annealed/accepted": jnp.broadcast_to(chain.accepted.mean(), mask.shape),
            f"{RATE}q": rate,
            f"{DISTORTION}q": distortion,
            RATE: chain.rate[points],
            DISTORTION: chain.distortion[points],
        }
        return {name: jnp.where(mask, a, 0.0).sum(axis=-1) for name, a in each.items()}

    total: dict[str, Any] = {}
    for number, (indices, mask) in enumerate(
        eval_batches(source.size, min(batch_size, size), size)
    ):
        part = judge(params, source.take(indices), mask, jnp.uint32(number))
        for name, value in part.items():
            total[name] = total.get(name, 0.0) + np.asarray(value, np.float64) / size
    betas = np.asarray(schedule(temperatures))[1:][points]
    curves = {
        f"{name}{beta:.3g}": float(value)
        for name in (RATE, DISTORTION)
        for beta, value in zip(betas, total.pop(name), strict=True)
    }
    return {name: float(value) for name, value in total.items()} | curves


def is_of_curve(name: str) -> bool:
    """Whether a figure is a point of the curve, of which there are many."""
    return name.startswith((RATE, DISTORTION))
