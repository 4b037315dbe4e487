"""Generated sound that resembles speech: syllables of vowels, with consonants of noise."""

import numpy as np

__all__ = ["LENGTH", "RATE", "speech"]

RATE = 8000  # samples per second
LENGTH = 4096  # samples: 0.51 s
_VOWELS = np.array(  # Hz: the first three formants of five vowels
    [[730, 1090, 2440], [270, 2290, 3010], [530, 1840, 2480], [570, 840, 2410], [300, 870, 2240]],
    float,
)
_BANDWIDTHS = np.array([80.0, 100.0, 140.0])  # Hz
_LEVELS = np.array([1.0, 0.5, 0.25])  # of the formants
_HIGHEST = 3800.0  # Hz, of harmonics
_SYLLABLES = 3
_PITCHES = (90.0, 240.0)  # Hz
_STRIDE = 32  # samples, 4 ms, for which a harmonic has one amplitude
_BLOCK = 100  # clips at once, which bounds the memory


def speech(examples: int, seed: int) -> np.ndarray:
    """Clips of three syllables `[N, 4096, 1]` in [−1, 1], float32.

    A clip has a voice, whose pitch is log-uniform in 90–240 Hz and falls or rises by up to a fifth,
    with a vibrato of 2 % at 4–7 Hz. Each syllable has one of five vowels: harmonics of the pitch
    whose amplitudes follow resonances at the vowel's formants, scaled by the voice (± 10 %); they
    glide from one vowel to the next. Before it there is, with probability ½, a consonant: 30–60 ms
    of noise above 2 kHz. Envelopes rise within 15 ms and decay towards the end of the syllable.

    Args:
      examples: N.
      seed: of all random numbers.
    """
    random = np.random.RandomState(seed)
    blocks = [_clips(random, min(_BLOCK, examples - i)) for i in range(0, examples, _BLOCK)]
    return np.concatenate(blocks) if blocks else np.zeros((0, LENGTH, 1), np.float32)


def _clips(random: np.random.RandomState, n: int) -> np.ndarray:
    t = np.arange(LENGTH) / RATE  # seconds
    start, envelope, active = _syllables(random, n, t)
    low, high = np.log(_PITCHES)
    pitch = np.exp(random.uniform(low, high, (n, 1)))
    glide = 1 + random.uniform(-0.2, 0.2, (n, 1)) * t[None] / t[-1]
    vibrato = 0.02 * np.sin(2 * np.pi * (random.uniform(4, 7, (n, 1)) * t + random.rand(n, 1)))
    f0 = pitch * glide * (1 + vibrato)  # [n, T]
    phase = 2 * np.pi * np.cumsum(f0, axis=1) / RATE
    formants = _formants(random, n, active)[:, ::_STRIDE]  # [n, T / stride, 3]
    coarse = f0[:, ::_STRIDE]
    tone = np.exp(1j * phase).astype(np.complex64)
    harmonic, voiced = np.ones_like(tone), np.zeros((n, LENGTH), np.float32)
    for h in range(1, int(_HIGHEST / coarse.min()) + 1):
        harmonic = harmonic * tone  # its imaginary part is sin hφ
        f = h * coarse
        amplitude = _resonance(f, formants) / h**0.5 * np.clip((_HIGHEST - f) / 200, 0, 1)
        voiced += np.repeat(amplitude, _STRIDE, axis=1).astype(np.float32) * harmonic.imag
    x = voiced * envelope
    x /= np.abs(x).max(axis=1, keepdims=True) + 1e-9
    x += _consonants(random, n, start, t)
    x += 0.002 * random.standard_normal(x.shape)
    level = random.uniform(0.4, 0.95, (n, 1))
    return (level * x / np.abs(x).max(axis=1, keepdims=True)).astype(np.float32)[..., None]


def _syllables(
    random: np.random.RandomState, n: int, t: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Starts `[n, S]`, the envelope `[n, T]`, and the number of the syllable at each time."""
    length = t[-1] / _SYLLABLES
    start = length * np.arange(_SYLLABLES)[None] + random.uniform(0.03, 0.07, (n, _SYLLABLES))
    elapsed = t[None, None] - start[..., None]  # [n, S, T]
    decay = random.uniform(0.06, 0.14, (n, _SYLLABLES, 1))
    rise = np.clip(elapsed / 0.015, 0, 1)
    fall = np.exp(-np.maximum(elapsed, 0) / decay) * np.clip((length - elapsed) / 0.02, 0, 1)
    loud = random.uniform(0.5, 1.0, (n, _SYLLABLES, 1))
    envelope = (loud * rise * fall).sum(axis=1)
    active = np.clip((elapsed > -0.02).sum(axis=1) - 1, 0, _SYLLABLES - 1)
    return start, envelope, active


def _formants(random: np.random.RandomState, n: int, active: np.ndarray) -> np.ndarray:
    vowels = random.randint(len(_VOWELS), size=(n, _SYLLABLES))
    of_voice = random.uniform(0.9, 1.1, (n, 1, 1))
    targets = _VOWELS[np.take_along_axis(vowels, active, axis=1)] * of_voice  # [n, T, 3]
    width = RATE // 33  # 30 ms, over which formants glide
    total = np.cumsum(np.pad(targets, ((0, 0), (width, 0), (0, 0)), mode="edge"), axis=1)
    return (total[:, width:] - total[:, :-width]) / width


def _resonance(f: np.ndarray, formants: np.ndarray) -> np.ndarray:
    distance = (f[..., None] - formants) / _BANDWIDTHS
    return (_LEVELS / (1 + distance**2)).sum(axis=-1) + 0.01


def _consonants(
    random: np.random.RandomState, n: int, start: np.ndarray, t: np.ndarray
) -> np.ndarray:
    spectrum = np.fft.rfft(random.standard_normal((n, LENGTH)), axis=1)
    spectrum[:, np.fft.rfftfreq(LENGTH, 1 / RATE) < 2000] = 0
    noise = np.fft.irfft(spectrum, LENGTH, axis=1)
    noise /= np.abs(noise).max(axis=1, keepdims=True)
    duration = random.uniform(0.03, 0.06, (n, _SYLLABLES, 1))
    before = start[..., None] - t[None, None]  # [n, S, T]
    gate = ((before > 0) & (before < duration)) * np.clip(before / 0.01, 0, 1)
    heard = random.rand(n, _SYLLABLES, 1) < 0.5
    return 0.4 * noise * (heard * gate).sum(axis=1)
