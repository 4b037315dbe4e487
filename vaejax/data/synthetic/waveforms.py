"""Generated audio clips: plucked tones with a few harmonics."""

import numpy as np

__all__ = ["LENGTH", "NOISE", "RATE", "waveforms"]

RATE = 8000  # samples per second
LENGTH = 512  # samples: 64 ms
NOISE = 0.01  # standard deviation; its square is the lowest possible mean squared error
_PITCHES = (100.0, 800.0)  # Hz
_HARMONICS = 4  # the highest at 3,200 Hz, below half the rate


def waveforms(examples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Clips of one tone each, and their pitches.

    x_t = a e^(−(t − s)/τ) Σ_h w_h sin(h φ_t + θ_h) + noise after the onset s, and noise before it.
    The pitch dφ/dt / 2π is log-uniform in 100–800 Hz with a vibrato of 1 % at 5–20 Hz; the four
    harmonics have weights w_h ∝ u_h / h with u_h uniform in [0, 1] and sum 1, and uniform phases
    θ_h; the peak a is uniform in [0.3, 0.95], the decay τ log-uniform in 10–100 ms and the onset
    uniform in 0–16 ms, with an attack of 2 ms.

    Args:
      examples: N.
      seed: of all random numbers.

    Returns:
      Clips `[N, 512, 1]` in [−1, 1] and their pitches in Hz `[N]`, float32.
    """
    random = np.random.RandomState(seed)

    def uniform(low: float, high: float) -> np.ndarray:  # [N, 1]
        return random.uniform(low, high, (examples, 1))

    pitch = np.exp(uniform(*np.log(_PITCHES)))
    decay = np.exp(uniform(np.log(0.01), np.log(0.1)))
    onset, peak = uniform(0.0, 0.016), uniform(0.3, 0.95)
    vibrato, vibrato_phase = uniform(5.0, 20.0), uniform(0.0, 2 * np.pi)
    order = np.arange(1, _HARMONICS + 1)
    weights = random.uniform(size=(examples, _HARMONICS)) / order
    weights /= weights.sum(axis=1, keepdims=True)
    phases = random.uniform(0, 2 * np.pi, (examples, _HARMONICS))

    t = np.arange(LENGTH)[None] / RATE  # seconds, [1, T]
    # Its derivative is 1 % of a cosine: the vibrato of the frequency.
    shift = 0.01 * np.sin(2 * np.pi * vibrato * t + vibrato_phase) / (2 * np.pi * vibrato)
    angle = 2 * np.pi * pitch * (t + shift)
    x = np.zeros((examples, LENGTH))
    for i, h in enumerate(order):
        x += weights[:, i : i + 1] * np.sin(h * angle + phases[:, i : i + 1])
    elapsed = np.maximum(t - onset, 0.0)
    x *= peak * np.exp(-elapsed / decay) * np.minimum(elapsed / 0.002, 1.0)
    x += NOISE * random.standard_normal(x.shape)
    return np.clip(x, -1, 1).astype(np.float32)[..., None], pitch[:, 0].astype(np.float32)
