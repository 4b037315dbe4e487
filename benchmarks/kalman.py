"""TD-VAE's beliefs against Kalman's, on a linear-Gaussian system.

  python -m benchmarks.kalman [--steps=6000]

The decoder is given (x = z + noise), so that z means the state; beliefs (an LSTM and two layers of
z), smoothing and transition are learned from 20,000 sequences. Reported are the errors of belief
and transition on held-out sequences, in units of Kalman's standard deviations, and the loss beside
the exact predictive likelihood that bounds it. Writes `results/kalman.json`.
"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags

from benchmarks import linear_system as system
from benchmarks.machine import machine
from vaejax import families
from vaejax.core.game import Family, losses_and_trace
from vaejax.distributions import likelihoods
from vaejax.networks import Network
from vaejax.training.train_step import init_state, make_step

_STEPS = flags.DEFINE_integer("steps", 6000, "Steps of training.")
_LENGTH = flags.DEFINE_integer("length", 20, "Of the sequences.")

BATCH, EXAMPLES, HELD_OUT, DRAWS = 128, 20_000, 2000, 256


def learned(length: int, steps: int) -> Family:
    """One step at a time; the decoder has no parameters."""
    same = Network(lambda key, x: {}, lambda params, x: x)
    rate = optax.cosine_decay_schedule(3e-3, steps)
    players = {"vae": ({"nll": 1.0, "kl": 1.0}, optax.adam(rate))}
    return families.td_vae(
        (length, 2), players, latent_dims=(1, 1), belief={"kind": "lstm", "size": 32}, pairs=4,
        network=(same, same), hidden=(32,), likelihood=likelihoods.normal(system.OBSERVED),
        steps=((1, 1),),
    )  # fmt: skip


def train(family: Family, x: np.ndarray, steps: int) -> dict[str, object]:
    """Parameters after training on observations `[N, T, 2]`."""
    data, step = jnp.asarray(x, jnp.float32), make_step(family)

    @jax.jit
    def run(state: object) -> object:
        def body(i: jax.Array, state: object) -> object:
            rows = jax.random.randint(jax.random.fold_in(jax.random.key(7), i), (BATCH,), 0, len(x))
            return step(state, {"signal": data[rows]}, 0)[0]

        return jax.lax.fori_loop(0, steps, body, state)

    return run(jax.jit(lambda: init_state(family, 0, {"signal": data[:BATCH]}))()).params


def compare(family: Family, params: dict[str, object], x: np.ndarray) -> dict[str, float]:
    """Errors of the beliefs about the last state, of a jump, and of the loss."""
    known, length = system.kalman(x), x.shape[1]
    ask, data = family.model.sequences, jnp.asarray(x, jnp.float32)

    @jax.jit
    def moments(params: object, key: jax.Array) -> tuple[jax.Array, ...]:
        b = ask.beliefs(params, data)[:, -1]

        def one(key: jax.Array) -> tuple[jax.Array, jax.Array]:
            now, after = jax.random.split(key)
            zs = ask.believe(params, b, now).zs
            one_step = jnp.ones(len(b), jnp.int32)
            return jnp.concatenate(zs, 1), jnp.concatenate(
                ask.jump(params, zs, one_step, after).zs, 1
            )

        return jax.lax.map(one, jax.random.split(key, DRAWS))

    z, ahead = (np.asarray(a, np.float64) for a in moments(params, jax.random.key(1)))
    matrix, added = system.ahead(1)
    mean, covariance = known.mean[:, -1], known.covariance[-1]
    expected, spread = mean @ matrix.T, matrix @ covariance @ matrix.T + added

    def errors(draws: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> tuple[float, ...]:
        sd = np.sqrt(np.diag(covariance))
        noise = 1 / DRAWS  # of a mean of draws, in units of the variance
        rms = np.sqrt(np.maximum(np.mean(((draws.mean(0) - mean) / sd) ** 2) - noise, 0.0))
        ratio = draws.var(axis=0, ddof=1).mean(axis=0) / np.diag(covariance)
        centred = draws - draws.mean(axis=0)
        cross = (centred[..., 0] * centred[..., 1]).sum(axis=0).mean() / (DRAWS - 1)
        correlation = cross / np.sqrt(np.prod(draws.var(axis=0, ddof=1).mean(axis=0)))
        return rms, *ratio, correlation, covariance[0, 1] / sd.prod()

    names = ("mean_rms_error_in_sd", "variance_ratio_0", "variance_ratio_1", "correlation",
             "correlation_of_kalman")  # fmt: skip
    found = dict(zip(names, errors(z, mean, covariance), strict=True))
    found |= {f"ahead_{k}": v for k, v in zip(names, errors(ahead, expected, spread), strict=True)}

    evaluate = jax.jit(losses_and_trace(family, training=False))
    loss = []
    for i in range(20):
        losses, _ = evaluate(params, {"signal": data}, jax.random.key(i), jnp.int32(0))
        loss.append(float((losses["nll"] + losses["kl"].sum(axis=1)).mean()))
    exact = -np.mean([system.log_predictive(x, known, t, 1).mean() for t in range(length - 1)])
    found |= {"loss": float(np.mean(loss)), "exact_loss": float(exact)}
    return {name: float(value) for name, value in found.items()}


def main(argv: list[str]) -> None:
    """Trains, compares, prints and writes."""
    del argv
    family = learned(_LENGTH.value, _STEPS.value)
    params = train(family, system.simulate(EXAMPLES, _LENGTH.value, seed=1)[1], _STEPS.value)
    held_out = system.simulate(HELD_OUT, _LENGTH.value, seed=2)[1]
    result = {**machine(), "steps": _STEPS.value, **compare(family, params, held_out)}
    path = Path(__file__).parent / "results" / "kalman.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    app.run(main)
