"""Data made on the spot, whose truth is known."""

from collections.abc import Callable

import numpy as np

from vaejax.data.readers.npz import from_arrays
from vaejax.data.source import DEFAULT_RESIDENT_BYTES, Source
from vaejax.data.synthetic.code_maps import load_codes
from vaejax.data.synthetic.sentences import ALPHABET, sentences
from vaejax.data.synthetic.waveforms import waveforms

FACTOR_COLUMNS = ("z1", "2 z1", "3 z1²", "4 z2", "5 z2", "6 sin z2", "7 z1 z2")
FACTOR_SUPPORT = np.array([[1, 1, 1, 0, 0, 0, 1], [0, 0, 0, 1, 1, 1, 1]], bool).T  # [7, 2]


def factors(examples: int, seed: int, noise: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """The simulation of sparse decoding (2110.10804, section 4.1): which column uses which factor.

    Two independent factors from N(0, 1), seven columns, `FACTOR_COLUMNS`, with Gaussian noise.

    Args:
      examples: N.
      seed: of everything.
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
        "column_names": np.array(FACTOR_COLUMNS),
    }


def _waveforms() -> dict[str, np.ndarray]:
    return {
        "train_signal": waveforms(8000, seed=0)[0],
        "eval_signal": waveforms(1000, seed=1)[0],
    }


def _text() -> dict[str, np.ndarray]:
    return {
        "train_tokens": sentences(8000, seed=0),
        "eval_tokens": sentences(1000, seed=1),
        "token_names": np.array(list(ALPHABET)),
    }


TABLES: dict[str, Callable[[], dict[str, np.ndarray]]] = {
    "factors": _factors,
    "text": _text,
    "waveforms": _waveforms,
}


def load_synthetic(
    table: str,
    split: str = "train",
    *,
    image_size: int | None = None,
    channels: int | None = None,
    holdout: float = 0.1,
    max_resident_bytes: int = DEFAULT_RESIDENT_BYTES,
) -> Source:
    """One of `TABLES`, the examples to evaluate on drawn apart from those to train on.

    `factors` has 1,000 of each, `text` and `waveforms` 8,000 to train on and 1,000 to evaluate on,
    `codes` 10,000 and 1,000.

    Raises:
      ValueError: for an unknown table, split or option.
    """
    if table == "codes":
        return load_codes(split)
    if table not in TABLES:
        raise ValueError(
            f"unknown synthetic table {table!r}: known are {', '.join([*TABLES, 'codes'])}"
        )
    return from_arrays(
        TABLES[table](),
        split,
        name=f"synthetic:{table}",
        image_size=image_size,
        channels=channels,
        holdout=holdout,
        max_resident_bytes=max_resident_bytes,
    )
