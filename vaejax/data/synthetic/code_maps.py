"""Generated maps of codes with known entropy."""

import numpy as np

from vaejax.core.token_layout import CodeMap, Layout
from vaejax.data.load_options import LoadOptions
from vaejax.data.source import Source, decode_rows, in_memory

__all__ = ["code_map_entropy", "code_maps", "load_codes"]

_CODE_MAP, _CLASSES, _NOISE = CodeMap((6, 6), (), 16), 3, 0.1


def code_maps(examples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Maps of codes in which each code is its neighbour's number + 1 + class, modulo 16.

    The neighbour is the code to the left, in the first column the one above. One code in ten is
    uniformly random instead, as is the first.

    Args:
      examples: N.
      seed: of maps and classes.

    Returns:
      Codes int32 `[N, 6, 6]` and classes int32 `[N]`, of which there are three.
    """
    random = np.random.RandomState(seed)
    (height, width), size = _CODE_MAP.places, _CODE_MAP.size
    label = random.randint(_CLASSES, size=examples)
    maps = random.randint(size, size=(examples, height, width))
    noisy = random.rand(examples, height, width) < _NOISE
    for i in range(height):
        for j in range(width):
            if i or j:
                before = maps[:, i, j - 1] if j else maps[:, i - 1, j]
                maps[:, i, j] = np.where(noisy[:, i, j], maps[:, i, j], (before + 1 + label) % size)
    return maps.astype(np.int32), label.astype(np.int32)


def code_map_entropy() -> float:
    """Entropy of a map of `code_maps` given its class, in nats: the lowest possible loss."""
    size, other = _CODE_MAP.size, _NOISE / _CODE_MAP.size
    likely = 1 - _NOISE + other
    per_code = -likely * np.log(likely) - (size - 1) * other * np.log(other)
    return float(np.log(size) + (_CODE_MAP.length - 1) * per_code)


def load_codes(options: LoadOptions) -> Source:
    """`code_maps`: 10,000 maps for training and 1,000 independent ones for evaluation."""
    maps, label = code_maps(*options.size_and_seed)
    return in_memory(
        {"tokens": maps.reshape(len(maps), -1).astype(np.uint8), "label": label},
        np.arange(len(maps)),
        max_resident_bytes=options.max_resident_bytes,
        name=options.source,
        split=options.split,
        decode=decode_rows,
        num_classes=_CLASSES,
        layout=Layout((_CODE_MAP,)),
    )
