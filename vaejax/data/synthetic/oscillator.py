"""A noisily observed harmonic oscillator (1806.03107, section 5.3), and its exact filter.

The state s = (position x, velocity over ω) follows, with time in steps,

    dx = ω u dt,   du = −ω x dt − 2ζω u dt + d √(4ζω) dW,

so that at drive d = 1 the state is N(0, I) at every time, whatever the damping ratio ζ; ω is
2π / period. Observed is y_t = x_t + noise. Both are sampled from the exact transition density, not
by small integration steps.
"""

import numpy as np

from vaejax.data.load_options import LoadOptions, check_range
from vaejax.data.source import Source, decode_rows, in_memory

__all__ = ["kalman_filter", "oscillations", "oscillator", "transition"]

LENGTH, PERIOD, DAMPING, NOISE = 200, 20.0, 0.02, 0.5


def transition(period: float, damping: float, drive: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """A and Q of one step s_{t+1} ~ N(A s_t, Q), float64 `[2, 2]` each.

    A = exp(F) for the drift F, and Q = d² (I − A Aᵀ), since N(0, I) is stationary at d = 1.

    Args:
      period: of the undamped oscillation, in steps.
      damping: ratio ζ in [0, 1); 1 would be critical.
      drive: d; 0 is the free oscillation, which decays.
    """
    w = 2 * np.pi / period
    decay, turn = damping * w, w * np.sqrt(1 - damping**2)
    drift = np.array([[0.0, w], [-w, -2 * decay]])
    swing = np.cos(turn) * np.eye(2) + np.sin(turn) / turn * (drift + decay * np.eye(2))
    a = np.exp(-decay) * swing
    return a, drive**2 * (np.eye(2) - a @ a.T)


def oscillations(
    examples: int,
    seed: int,
    *,
    length: int = LENGTH,
    period: float = PERIOD,
    damping: float = DAMPING,
    noise: float = NOISE,
    drive: float = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Noisy observations `[N, T, 1]` and their states `[N, T, 2]`, float32.

    Args:
      examples: N.
      seed: of states and noise.
      length: T.
      period: see `transition`.
      damping: see `transition`.
      noise: variance of an observation given the position; the position has variance 1.
      drive: see `transition`.
    """
    random = np.random.RandomState(seed)
    a, q = transition(period, damping, drive)
    # At drive 0 a rounding error may leave an eigenvalue just below zero.
    values, vectors = np.linalg.eigh(q)
    spread = vectors * np.sqrt(np.maximum(values, 0.0))
    states = np.empty((length, examples, 2))
    states[0] = random.standard_normal((examples, 2))
    for t in range(1, length):
        states[t] = states[t - 1] @ a.T + random.standard_normal((examples, 2)) @ spread.T
    truth = np.moveaxis(states, 0, 1)
    signal = truth[..., :1] + np.sqrt(noise) * random.standard_normal((examples, length, 1))
    return signal.astype(np.float32), truth.astype(np.float32)


def kalman_filter(
    signal: np.ndarray,
    *,
    period: float = PERIOD,
    damping: float = DAMPING,
    noise: float = NOISE,
    drive: float = 1.0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The exact filtering distributions p(s_t | y_1 … y_t): an upper bound for any model.

    Given a filtered mean, the state k steps later has the mean A^k mean, with A of `transition`.

    Args:
      signal: observations `[N, T, 1]`.
      period: of the simulation; see `oscillations`.
      damping: of the simulation.
      noise: of the simulation, above 0.
      drive: of the simulation.

    Returns:
      Filtered means `[N, T, 2]` and covariances `[T, 2, 2]`, and log p(y_1 … y_T) `[N]` in nats;
      float64.
    """
    a, q = transition(period, damping, drive)
    examples, length, _ = signal.shape
    mean, covariance = np.zeros((examples, 2)), np.eye(2)
    means, covariances = np.empty((examples, length, 2)), np.empty((length, 2, 2))
    log_p = np.zeros(examples)
    for t in range(length):
        if t:
            mean, covariance = mean @ a.T, a @ covariance @ a.T + q
        variance = covariance[0, 0] + noise
        innovation = signal[:, t, 0].astype(np.float64) - mean[:, 0]
        log_p -= 0.5 * (np.log(2 * np.pi * variance) + innovation**2 / variance)
        gain = covariance[:, 0] / variance
        mean = mean + innovation[:, None] * gain
        covariance = covariance - np.outer(gain, covariance[0])
        means[:, t], covariances[t] = mean, covariance
    return means, covariances, log_p


def oscillator(
    options: LoadOptions,
    *,
    length: int = LENGTH,
    period: float = PERIOD,
    damping: float = DAMPING,
    noise: float = NOISE,
    drive: float = 1.0,
) -> Source:
    """`signal` `[B, T, 1]`, with `truth` `[B, T, 2]`: the position and the velocity over ω.

    10,000 signals for training and 1,000 independent ones for evaluation. By default ten
    oscillations in 200 steps; the phase decorrelates in 1 / ζω = 159 steps.

    Args:
      options: see `LoadOptions`.
      length: T.
      period: steps of one oscillation, more than two.
      damping: ratio ζ in [0, 1).
      noise: variance of an observation given the position; the position has variance 1.
      drive: strength of the random force; at 0 the oscillation decays.

    Raises:
      ValueError: a setting is out of range.
    """
    check_range("length", length, 1)
    check_range("period", period, 2.0)
    check_range("damping", damping, 0.0, 0.99)
    check_range("noise", noise, 0.0)
    check_range("drive", drive, 0.0)
    signal, truth = oscillations(
        *options.size_and_seed,
        length=length,
        period=period,
        damping=damping,
        noise=noise,
        drive=drive,
    )
    return in_memory(
        {"signal": signal, "truth": truth},
        np.arange(len(signal)),
        max_resident_bytes=options.max_resident_bytes,
        name=options.source,
        split=options.split,
        decode=decode_rows,
        unit_scale=True,
    )
