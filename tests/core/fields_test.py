"""Declared types and ranges: what they accept, and what errors say."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from vaejax.core.annotations import accepts, type_name
from vaejax.core.fields import ANY, Range, check_value

ACCEPTED = [
    (int, (0, -3, np.int32(4)), (True, 2.0, 2.5, "2", None, (1,))),
    (float, (0, 0.5, np.float32(2)), (True, "2", None, [1.0])),
    (bool, (True, np.bool_(False)), (0, 1, "True", None)),
    (str, ("", "a"), (3, None, ("a",))),
    (str | None, ("a", None), (3,)),
    (Sequence[int], ((), (1, 2), [3], np.arange(3)), ("12", 3, (1, 2.5), (True,))),
    (Sequence[Sequence[float]], (((1, 2.5),),), ((1, 2),)),
    (float | Mapping[str, Any], (1, {"kind": "linear"}), ("linear", None)),
    (Any, (1, "a", None, {}), ()),
]


@pytest.mark.parametrize(("annotation", "good", "bad"), ACCEPTED)
def test_accepts(annotation, good, bad):
    for value in good:
        assert accepts(annotation, value), value
    for value in bad:
        assert not accepts(annotation, value), value


@pytest.mark.parametrize(
    ("limits", "inside", "outside"),
    [
        (Range(1), (1, 1e9), (0, -1)),
        (Range(0, 1), (0, 1, 0.5), (-1e-9, 1.001)),
        (Range(0, 1, above=True, below=True), (0.5,), (0, 1)),
        (Range(3, above=True, zero="none"), (0, 4), (3, -1)),
        (Range(choices=(0, 1, 3)), (0, 3), (2, "1")),
        (ANY, (-1e300, 0), ()),
    ],
)
def test_ranges(limits, inside, outside):
    assert all(map(limits.contains, inside))
    assert not any(map(limits.contains, outside))


@pytest.mark.parametrize(
    ("value", "annotation", "limits", "message"),
    [
        (0, int, Range(1), "x must be at least 1, found 0"),
        (1.0, float, Range(0, 1, below=True), "x must be in [0, 1), found 1.0"),
        (2.5, int, Range(1), "x must be a whole number, found 2.5"),
        (math.nan, float, ANY, "x must be a finite number, found nan"),
        (math.inf, float, Range(0), "x must be a finite number, found inf"),
        (10**12, int, Range(1, 4096, reason="memory"), "x must be at most 4096 (memory), found"),
        ((8, 0), Sequence[int], Range(1), "every number of x must be at least 1, found (8, 0)"),
        ("dynamik", str, Range(choices=("none", "dynamic")), "did you mean 'dynamic'?"),
        (None, int, ANY, "x must be a whole number, found None"),
        ("a\nb" * 100, int, ANY, "..."),
    ],
)
def test_errors_are_one_line(value, annotation, limits, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        check_value("x", value, annotation, limits)
    assert "\n" not in str(caught.value)


def test_arrays_of_a_sweep_are_not_checked():
    check_value("x", jnp.float32(-3), float, Range(0))


def test_types_in_words():
    assert type_name(float | Mapping[str, Any]) == "a number or a mapping of settings"
    assert type_name(Sequence[int] | None) == "a sequence of whole numbers"
