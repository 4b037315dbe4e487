"""Small data whose truth is known: a table, and maps of codes."""

import numpy as np

from vaejax.data.npz import from_arrays
from vaejax.data.source import (
    DEFAULT_RESIDENT_BYTES,
    Source,
    check_split,
    decode_rows,
    in_memory,
)
from vaejax.layout import CodeMap, Layout

TABLES = ("factors", "codes")
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


CODE_MAP, CODE_CLASSES, CODE_NOISE = CodeMap((6, 6), (), 16), 3, 0.1


def codes(examples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Maps of codes that count: each is its neighbour's number + 1 + class, modulo 16.

    The neighbour is the one to the left, in the first column the one above. One code in ten is
    drawn anew instead, uniformly, as is the first.

    Args:
      examples: N.
      seed: of everything.

    Returns:
      Codes int32 `[N, 6, 6]` and classes int32 `[N]`, of which there are three.
    """
    random = np.random.RandomState(seed)
    (height, width), size = CODE_MAP.places, CODE_MAP.size
    label = random.randint(CODE_CLASSES, size=examples)
    maps = random.randint(size, size=(examples, height, width))
    noisy = random.rand(examples, height, width) < CODE_NOISE
    for i in range(height):
        for j in range(width):
            if i or j:
                before = maps[:, i, j - 1] if j else maps[:, i - 1, j]
                maps[:, i, j] = np.where(noisy[:, i, j], maps[:, i, j], (before + 1 + label) % size)
    return maps.astype(np.int32), label.astype(np.int32)


def codes_entropy() -> float:
    """Nats of a map of `codes` given its class: what the best model of them reaches."""
    size, other = CODE_MAP.size, CODE_NOISE / CODE_MAP.size
    likely = 1 - CODE_NOISE + other
    each = -likely * np.log(likely) - (size - 1) * other * np.log(other)
    return float(np.log(size) + (CODE_MAP.length - 1) * each)


def _load_codes(split: str) -> Source:
    check_split(split)
    maps, label = codes(*{"train": (10_000, 0), "eval": (1000, 1)}[split])
    return in_memory(
        {"tokens": maps.reshape(len(maps), -1).astype(np.uint8), "label": label},
        np.arange(len(maps)),
        name="synthetic:codes",
        split=split,
        decode=decode_rows,
        num_classes=CODE_CLASSES,
        layout=Layout((CODE_MAP,)),
    )


def load_synthetic(
    table: str,
    split: str = "train",
    *,
    image_size: int | None = None,
    channels: int | None = None,
    holdout: float = 0.1,
    max_resident_bytes: int = DEFAULT_RESIDENT_BYTES,
) -> Source:
    """A table of 1,000 examples to train on and as many, drawn apart, to evaluate on.

    Of `codes` there are 10,000 to train on.

    Raises:
      ValueError: for an unknown table, split or option.
    """
    if table not in TABLES:
        raise ValueError(f"unknown synthetic table {table!r}: known are {', '.join(TABLES)}")
    if table == "codes":
        return _load_codes(split)
    return from_arrays(
        {
            "train_vector": factors(1000, seed=0)[0],
            "eval_vector": factors(1000, seed=1)[0],
            "column_names": np.array(FACTOR_COLUMNS),
        },
        split,
        name=f"synthetic:{table}",
        image_size=image_size,
        channels=channels,
        holdout=holdout,
        max_resident_bytes=max_resident_bytes,
    )
