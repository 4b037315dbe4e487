"""Maps of codes made on the spot, whose entropy is known."""

import numpy as np

from vaejax.data.source import Source, check_split, decode_rows, in_memory
from vaejax.quantizers.token_layout import CodeMap, Layout

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


def load_codes(split: str) -> Source:
    """`codes`: 10,000 maps to train on, and 1,000 drawn apart to evaluate on."""
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
