"""Rules for the sharding of arrays by their path: those for the axis `tensor`, and a user's.

What gets large here is split over the codes (codebooks and their averages) or over the units of a
layer: in a pair of layers the first by its outputs and the second by its inputs, so that one sum
over the devices follows each pair (Megatron-LM, 1909.08053, section 3).
"""

import re
from collections.abc import Mapping

from vaejax.core.tensor_axis import TENSOR

__all__ = ["AXES", "Rules", "parse_rules", "tensor_axes"]

# Regular expression -> an axis or None for each dimension.
Rules = Mapping[str, tuple[str | None, ...]]

AXES = ("data", "fsdp", TENSOR)
# Regular expression -> the dimension that is split, from the last on; the first that fits.
_TENSOR_RULES = {
    r"count/codebook(_\d+)?$": -1,  # of tokens per code, [..., K]
    r"codebook(_\d+)?(/codes)?$": -2,  # [..., K, D]
    # Of a transformer: [layers, inputs, outputs], and of its codes [kinds, K, width].
    r"layers/(qkv|up)$": -1,
    r"layers/(out|down)$": -2,
    r"prior/(tokens|logits)$": -2,
    # Layers number 0, 2, 4, ... of a discriminator, and those that follow them.
    r"discriminator/.*_\d*[02468]/(kernel|bias)$": -1,
    r"discriminator/.*_\d*[13579]/kernel$": -2,
}


def tensor_axes(path: str, shape: tuple[int, ...], size: int) -> list[str | None]:
    """The axis `tensor` or None for each dimension, by the library's rules.

    Args:
      path: of the array, such as `params/codebook`.
      shape: of the array.
      size: of the axis; a dimension that it does not divide is not split.
    """
    axes: list[str | None] = [None] * len(shape)
    for pattern, dimension in _TENSOR_RULES.items():
        if re.search(pattern, path):
            if size > 1 and len(shape) >= -dimension and shape[dimension] % size == 0:
                axes[dimension] = TENSOR
            break
    return axes


def parse_rules(text: str) -> dict[str, tuple[str | None, ...]]:
    """The rules of the field `mesh.rules`.

    Args:
      text: `PATTERN=AXIS,AXIS,...` for each dimension, `-` for one that is not split; several rules
        are separated by semicolons.

    Raises:
      ValueError: it is not of this form, an axis does not exist or occurs twice, or a pattern is no
        regular expression.
    """
    rules: dict[str, tuple[str | None, ...]] = {}
    for rule in filter(None, (part.strip() for part in text.split(";"))):
        pattern, equals, listed = rule.rpartition("=")
        names = [name.strip() for name in listed.split(",")]
        used = [name for name in names if name != "-"]
        if not equals or not pattern or not set(used) <= {*AXES} or len({*used}) < len(used):
            raise ValueError(
                f"mesh.rules: {rule!r} is not PATTERN=AXIS,AXIS,... with each axis one of "
                f"{', '.join(AXES)}, at most once, or -"
            )
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"mesh.rules: {pattern!r} is no regular expression: {error}") from None
        rules[pattern.strip()] = tuple(None if name == "-" else name for name in names)
    return rules
