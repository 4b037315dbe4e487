"""Parameters of every kind as safetensors and back."""

import jax
import numpy as np
import pytest

from vaejax.export.safetensors import load_params, save_params


def test_all_kinds_of_parameters_are_restored(tmp_path):
    """Scalars, other dtypes, transposed arrays, groups without parameters; names and metadata."""
    safetensors = pytest.importorskip("safetensors")
    params = {
        "encoder": {"Conv_0": {"kernel": np.arange(6.0, dtype=np.float32).reshape(2, 3).T}},
        "none": {},
        "deep": {"none": {}, "count": np.int32(3), "nan": np.array([np.nan, -0.0], np.float16)},
    }
    save_params(tmp_path / "p.safetensors", params, family="f", step=3)
    with safetensors.safe_open(str(tmp_path / "p.safetensors"), framework="numpy") as file:
        assert set(file.keys()) == {"encoder/Conv_0/kernel", "deep/count", "deep/nan"}
        assert {"family": "f", "step": "3"}.items() <= file.metadata().items()
    (tmp_path / "plain").write_bytes(b"")
    assert (tmp_path / "p.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode
    loaded = load_params(tmp_path / "p.safetensors")
    assert jax.tree.structure(loaded) == jax.tree.structure(params)
    for a, b in zip(jax.tree.leaves(loaded), jax.tree.leaves(params), strict=True):
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


@pytest.mark.parametrize("params", [{"a/b": np.zeros(2)}, {"a": {"": np.zeros(2)}}])
def test_names_that_cannot_be_restored_are_rejected(tmp_path, params):
    with pytest.raises(ValueError, match="cannot be named"):
        save_params(tmp_path / "p.safetensors", params)
