"""A harmonic oscillator seen through noise (1806.03107, section 5.3), and what can be known of it.

The state s = (position x, velocity over ω) follows, with time in steps,

    dx = ω u dt,   du = −ω x dt − 2ζω u dt + d √(4ζω) dW,

so that at drive d = 1 the state is N(0, I) at every time, whatever the damping ratio ζ; ω is
2π / period. Seen is y_t = x_t + noise. Both are simulated exactly, not in small steps.
"""

import numpy as np

from vaejax.data.load_options import Request, check_range
from vaejax.data.source import Source, decode_rows, in_memory

LENGTH, PERIOD, DAMPING, NOISE = 200, 20.0, 0.02, 0.5


def transition(period: float, damping: float, drive: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """A and Q `[2, 2]`, float64, of one step: s_{t+1} ~ N(A s_t, Q).

    A = exp(F) for the drift F, and Q = d² (I − A Aᵀ), since N(0, I) is stationary at d = 1.

    Args:
      period: of the undamped oscillation, steps.
      damping: ratio ζ in [0, 1); 1 would be critical.
      drive: d. 0 is the oscillation that dies out by itself.
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
    """Noisy observations `[N, T, 1]` and the states `[N, T, 2]` behind them, float32.

    Args:
      examples: N.
      seed: of everything.
      length: T.
      period: see `transition`, as for `damping` and `drive`.
      damping: the same.
      noise: variance of an observation about the position, whose own variance is 1.
      drive: the same.
    """
    random = np.random.RandomState(seed)
    a, q = transition(period, damping, drive)
    # Where there is no noise a rounding error may leave an eigenvalue just below zero.
    values, vectors = np.linalg.eigh(q)
    spread = vectors * np.sqrt(np.maximum(values, 0.0))
    states = np.empty((length, examples, 2))
    states[0] = random.standard_normal((examples, 2))
    for t in range(1, length):
        states[t] = states[t - 1] @ a.T + random.standard_normal((examples, 2)) @ spread.T
    truth = np.moveaxis(states, 0, 1)
    seen = truth[..., :1] + np.sqrt(noise) * random.standard_normal((examples, length, 1))
    return seen.astype(np.float32), truth.astype(np.float32)


def beliefs(
    signal: np.ndarray,
    *,
    period: float = PERIOD,
    damping: float = DAMPING,
    noise: float = NOISE,
    drive: float = 1.0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The best belief p(s_t | y_1 … y_t), by Kalman's filter: what a model can reach at most.

    From a belief `mean`, `covariance` the state k steps later is N(A^k mean, …): apply
    `transition`.

    Args:
      signal: observations `[N, T, 1]`, noise > 0.
      period: as for the simulation, like the others.
      damping: the same.
      noise: the same.
      drive: the same.

    Returns:
      Means `[N, T, 2]` and covariances `[T, 2, 2]` of the beliefs, and log p(y_1 … y_T) `[N]` in
      nats, float64.
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
        surprise = signal[:, t, 0].astype(np.float64) - mean[:, 0]
        log_p -= 0.5 * (np.log(2 * np.pi * variance) + surprise**2 / variance)
        gain = covariance[:, 0] / variance
        mean = mean + surprise[:, None] * gain
        covariance = covariance - np.outer(gain, covariance[0])
        means[:, t], covariances[t] = mean, covariance
    return means, covariances, log_p


def oscillator(
    request: Request,
    *,
    length: int = LENGTH,
    period: float = PERIOD,
    damping: float = DAMPING,
    noise: float = NOISE,
    drive: float = 1.0,
) -> Source:
    """`signal` `[B, T, 1]`, and as `truth` `[B, T, 2]` the position and the velocity over ω.

    10,000 to train on and 1,000, drawn apart, to evaluate on. By default ten oscillations in 200
    steps, whose phase is forgotten in 1 / ζω = 159 steps.

    Args:
      request: what `load` was asked for.
      length: T.
      period: steps of one oscillation, more than two.
      damping: ratio ζ in [0, 1).
      noise: variance of an observation about the position, whose own variance is 1.
      drive: of the random force; 0 leaves the oscillation to die out.

    Raises:
      ValueError: a setting is out of range.
    """
    check_range("length", length, 1)
    check_range("period", period, 2.0)
    check_range("damping", damping, 0.0, 0.99)
    check_range("noise", noise, 0.0)
    check_range("drive", drive, 0.0)
    signal, truth = oscillations(
        *request.sized, length=length, period=period, damping=damping, noise=noise, drive=drive
    )
    return in_memory(
        {"signal": signal, "truth": truth},
        np.arange(len(signal)),
        max_resident_bytes=request.max_resident_bytes,
        name=request.name,
        split=request.split,
        decode=decode_rows,
    )
