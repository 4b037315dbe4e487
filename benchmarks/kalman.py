"""TD-VAE's filtering distributions against the Kalman filter, on a linear-Gaussian system.

  python -m benchmarks.kalman [--steps=6000]

The decoder is fixed to x = z + noise, so that z is the state; belief (an LSTM and two layers of z),
smoothing and transition are learned from 20,000 sequences. Reports the errors of belief and
transition on held-out sequences, in units of the Kalman filter's standard deviations, and the loss
together with the exact predictive likelihood that bounds it. Writes `results/kalman.json`.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags

from vaejax import families
from vaejax.core.game import Family, losses_and_trace
from vaejax.distributions import likelihoods
from vaejax.networks import Network
from vaejax.training.train_step import init_state, make_step

from . import linear_system as system
from .machine import machine
from .paths import result_path, write_json

__all__ = ["main"]

_STEPS = flags.DEFINE_integer("steps", 6000, "Steps of training.")
_LENGTH = flags.DEFINE_integer("length", 20, "Length of the sequences.")

_BATCH, _EXAMPLES, _HELD_OUT, _SAMPLES = 128, 20_000, 2000, 256


def _family(length: int, steps: int) -> Family:
    """TD-VAE with δ = 1; the decoder has no parameters."""
    identity = Network(lambda key, x: {}, lambda params, x: x)
    rate = optax.cosine_decay_schedule(3e-3, steps)
    players = {"vae": ({"nll": 1.0, "kl": 1.0}, optax.adam(rate))}
    return families.td_vae(
        (length, 2), players, latent_dims=(1, 1), belief={"kind": "lstm", "size": 32}, num_pairs=4,
        network=(identity, identity), hidden=(32,), likelihood=likelihoods.normal(system.OBSERVED),
        steps=((1, 1),),
    )  # fmt: skip


def _train(family: Family, x: np.ndarray, steps: int) -> dict[str, object]:
    """The parameters after training on observations `[N, T, 2]`."""
    data, step = jnp.asarray(x, jnp.float32), make_step(family)

    @jax.jit
    def run(state: object) -> object:
        def body(i: jax.Array, state: object) -> object:
            key = jax.random.fold_in(jax.random.key(7), i)
            rows = jax.random.randint(key, (_BATCH,), 0, len(x))
            return step(state, {"signal": data[rows]}, 0)[0]

        return jax.lax.fori_loop(0, steps, body, state)

    return run(jax.jit(lambda: init_state(family, 0, {"signal": data[:_BATCH]}))()).params


def _compare(family: Family, params: dict[str, object], x: np.ndarray) -> dict[str, float]:
    """Errors of the belief about the last state, of the transition, and of the loss."""
    filtered, length = system.kalman_filter(x), x.shape[1]
    sequences, data = family.model.sequences, jnp.asarray(x, jnp.float32)

    @jax.jit
    def sample(params: object, key: jax.Array) -> tuple[jax.Array, ...]:
        b = sequences.belief_states(params, data)[:, -1]

        def per_sample(key: jax.Array) -> tuple[jax.Array, jax.Array]:
            belief_key, jump_key = jax.random.split(key)
            zs = sequences.sample_belief(params, b, belief_key).zs
            delta = jnp.ones(len(b), jnp.int32)
            following = sequences.sample_transition(params, zs, delta, jump_key).zs
            return jnp.concatenate(zs, 1), jnp.concatenate(following, 1)

        return jax.lax.map(per_sample, jax.random.split(key, _SAMPLES))

    z, following = (np.asarray(a, np.float64) for a in sample(params, jax.random.key(1)))
    matrix, added = system.transition(1)
    mean, covariance = filtered.mean[:, -1], filtered.covariance[-1]
    next_mean, next_covariance = mean @ matrix.T, matrix @ covariance @ matrix.T + added

    def errors(samples: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> tuple[float, ...]:
        sd = np.sqrt(np.diag(covariance))
        noise = 1 / _SAMPLES  # variance of a mean of samples, in units of the variance
        rms = np.sqrt(np.maximum(np.mean(((samples.mean(0) - mean) / sd) ** 2) - noise, 0.0))
        variance = samples.var(axis=0, ddof=1).mean(axis=0)
        centred = samples - samples.mean(axis=0)
        cross = (centred[..., 0] * centred[..., 1]).sum(axis=0).mean() / (_SAMPLES - 1)
        correlation = cross / np.sqrt(np.prod(variance))
        ratio = variance / np.diag(covariance)
        return rms, *ratio, correlation, covariance[0, 1] / sd.prod()

    names = ("mean_rms_error_in_sd", "variance_ratio_0", "variance_ratio_1", "correlation",
             "correlation_of_kalman")  # fmt: skip
    result = dict(zip(names, errors(z, mean, covariance), strict=True))
    next_errors = errors(following, next_mean, next_covariance)
    result |= {f"ahead_{name}": v for name, v in zip(names, next_errors, strict=True)}

    evaluate = jax.jit(losses_and_trace(family, training=False))
    loss = []
    for i in range(20):
        losses, _ = evaluate(params, {"signal": data}, jax.random.key(i), jnp.int32(0))
        loss.append(float((losses["nll"] + losses["kl"].sum(axis=1)).mean()))
    log_p = [system.log_predictive(x, filtered, t, 1).mean() for t in range(length - 1)]
    result |= {"loss": float(np.mean(loss)), "exact_loss": -float(np.mean(log_p))}
    return {name: float(value) for name, value in result.items()}


def main(argv: list[str]) -> None:
    """Trains, compares, prints and writes."""
    del argv
    family = _family(_LENGTH.value, _STEPS.value)
    params = _train(family, system.simulate(_EXAMPLES, _LENGTH.value, seed=1)[1], _STEPS.value)
    held_out = system.simulate(_HELD_OUT, _LENGTH.value, seed=2)[1]
    result = {**machine(), "steps": _STEPS.value, **_compare(family, params, held_out)}
    write_json(result_path("kalman.json"), result)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    app.run(main)
