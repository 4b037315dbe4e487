"""Tests of source strings and of options that are rejected before any data is read."""

import subprocess
import sys

import pytest

from vaejax import data


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("sprite", "did you mean 'sprites'"),
        ("sprites:smal", "did you mean 'sprites:small'"),
        ("tdfs:mnist", "did you mean 'tfds:mnist'"),
        ("tfds", "did you mean 'tfds:NAME'"),
        ("tfds:", "did you mean 'tfds:NAME'"),
        ("fodler:/a/b", "did you mean 'folder:/a/b'"),
        (
            "synthetic:tex",
            "unknown synthetic table 'tex': known are factors, speech, text, waveforms",
        ),
        ("synthetc:text", "did you mean 'synthetic:text'"),
        ("mnist", "unknown data source 'mnist': Known are sprites"),
        ("", "unknown data source ''"),
    ],
)
def test_unknown_sources_are_reported(source, message):
    with pytest.raises(ValueError, match=message):
        data.load(source)


@pytest.mark.parametrize("source", ["sprites:small", "tfds:mnist", "folder:x", "npz:x", "nonsense"])
def test_unknown_splits_are_rejected(source):
    with pytest.raises(ValueError, match="unknown split 'test'"):
        data.load(source, "test")


@pytest.mark.parametrize("options", [{"image_size": 0}, {"channels": 2}])
def test_impossible_image_options_are_rejected(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        data.load("npz:x", **options)


def test_optional_packages_are_optional():
    program = """
import sys
sys.modules.update(dict.fromkeys(["PIL", "tqdm", "array_record", "tensorflow_datasets"]))
import numpy as np
from vaejax import data
assert data.from_arrays(np.zeros((4, 8, 8), np.uint8), holdout=0.5).size == 2
assert data.load("sprites:small", "eval").size == 4608
"""
    subprocess.run([sys.executable, "-c", program], check=True)
