"""Checkpoints of random parameters against the classes of diffusers and transformers."""

import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from benchmarks import interop as comparison

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


@pytest.mark.parametrize("name", comparison.MODELS)
def test_values_and_gradients_agree_in_both_directions(name):
    for half in comparison.compare(name).values():
        assert half["value"]["largest"] < 1e-4
        assert half["gradient"]["largest"] < 1e-4
        assert half["written"]["largest"] < 1e-4
