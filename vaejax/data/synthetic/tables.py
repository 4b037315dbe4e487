"""Generated datasets with known ground truth: vectors, audio clips, sentences, maps of codes."""

import dataclasses
from collections.abc import Callable

import numpy as np

from vaejax.data.load_options import LoadOptions
from vaejax.data.readers.npz import source_of_arrays
from vaejax.data.source import Source
from vaejax.data.synthetic.code_maps import load_codes
from vaejax.data.synthetic.sentences import ALPHABET, sentences
from vaejax.data.synthetic.speech import RATE as SPEECH_RATE
from vaejax.data.synthetic.speech import speech
from vaejax.data.synthetic.waveforms import RATE as WAVEFORM_RATE
from vaejax.data.synthetic.waveforms import waveforms

__all__ = ["FACTOR_SUPPORT", "TABLES", "factors", "load_synthetic"]

_FACTOR_COLUMNS = ("z1", "2 z1", "3 z1²", "4 z2", "5 z2", "6 sin z2", "7 z1 z2")
FACTOR_SUPPORT = np.array([[1, 1, 1, 0, 0, 0, 1], [0, 0, 0, 1, 1, 1, 1]], bool).T  # [7, 2]


def factors(examples: int, seed: int, noise: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """The simulated data of sparse decoding (2110.10804, section 4.1).

    Seven columns are functions of two independent factors from N(0, 1), with Gaussian noise;
    `FACTOR_SUPPORT` says which column depends on which factor.

    Args:
      examples: N.
      seed: of factors and noise.
      noise: standard deviation.

    Returns:
      Columns `[N, 7]` and factors `[N, 2]`, float32.
    """
    random = np.random.RandomState(seed)
    z = random.standard_normal((examples, 2))
    z1, z2 = z.T
    x = np.stack([z1, 2 * z1, 3 * z1**2, 4 * z2, 5 * z2, 6 * np.sin(z2), 7 * z1 * z2], axis=1)
    x = x + noise * random.standard_normal(x.shape)
    return x.astype(np.float32), z.astype(np.float32)


def _factors() -> dict[str, np.ndarray]:
    return {
        "train_vector": factors(1000, seed=0)[0],
        "eval_vector": factors(1000, seed=1)[0],
        "column_names": np.array(_FACTOR_COLUMNS),
    }


def _waveforms() -> dict[str, np.ndarray]:
    return {
        "train_signal": waveforms(8000, seed=0)[0],
        "eval_signal": waveforms(1000, seed=1)[0],
    }


def _speech() -> dict[str, np.ndarray]:
    return {"train_signal": speech(1000, seed=0), "eval_signal": speech(100, seed=1)}


def _text() -> dict[str, np.ndarray]:
    return {
        "train_tokens": sentences(8000, seed=0),
        "eval_tokens": sentences(1000, seed=1),
        "token_names": np.array(list(ALPHABET)),
    }


TABLES: dict[str, Callable[[], dict[str, np.ndarray]]] = {
    "factors": _factors,
    "speech": _speech,
    "text": _text,
    "waveforms": _waveforms,
}


def load_synthetic(table: str, options: LoadOptions) -> Source:
    """One of `TABLES`, or `codes`; the examples of the two splits are independent.

    `factors` has 1,000 examples in each split, `text` and `waveforms` have 8,000 for training and
    1,000 for evaluation, `speech` 1,000 and 100, `codes` 10,000 and 1,000.

    Raises:
      ValueError: unknown table or option.
    """
    if table == "codes":
        return load_codes(options)
    if table not in TABLES:
        raise ValueError(
            f"unknown synthetic table {table!r}: known are {', '.join([*TABLES, 'codes'])}"
        )
    rate = {"speech": SPEECH_RATE, "waveforms": WAVEFORM_RATE}.get(table)
    source = source_of_arrays(TABLES[table](), options)
    return dataclasses.replace(source, unit_scale=True, sample_rate=rate)
