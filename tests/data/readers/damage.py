"""Random damage of files, and what a reader makes of them."""

import io
import os

import numpy as np
import pytest

from vaejax import data

hypothesis = pytest.importorskip("hypothesis")

st = hypothesis.strategies
EXAMPLES = int(os.environ.get("VAEJAX_FUZZ_EXAMPLES", "60"))
ERRORS = (ValueError, FileNotFoundError)


def fuzz(*strategies):
    """Decorator of a test of a few dozen random inputs, the same in every run."""

    def decorate(test):
        options = hypothesis.settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=EXAMPLES <= 60,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        return options(hypothesis.given(*strategies)(test))

    return decorate


def lines_of_errors(source, **options):
    """The number of lines of the error of each split: 0 where finite values are loaded."""
    lines = []
    for split in ("train", "eval"):
        try:
            loaded = data.load(source, split, holdout=0.5, **options)
            batch = loaded.decode(loaded.take(np.arange(min(loaded.size, 2))))
            assert all(np.isfinite(np.asarray(value)).all() for value in batch.values())
            lines.append(0)
        except ERRORS as error:
            lines.append(len(str(error).splitlines()))
    return lines


def file_of(save, *args, **options):
    buffer = io.BytesIO()
    save(buffer, *args, **options)
    return buffer.getvalue()


PIXELS = np.arange(4 * 6 * 6, dtype=np.uint8).reshape(4, 6, 6)
# (position as a fraction, bytes that replace those there, bytes cut off the end)
DAMAGE = st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8)), max_size=6)


def damaged(content, changes, cut):
    content = bytearray(content)
    for where, new in changes:
        start = int(where * (len(content) - 1))
        content[start : start + len(new)] = new[: len(content) - start]
    return bytes(content[: len(content) - cut])
