"""Memory of each of several processes: their share of the data, not all of them."""

import numpy as np
import pytest

from benchmarks.process_memory import images, measure

MIB = 160


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_four_processes_share_the_data(tmp_path, monkeypatch, save):
    monkeypatch.setenv("VAEJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MAX_RESIDENT_MIB", str(MIB))
    small, file = tmp_path / "small.npz", tmp_path / "images.npz"
    np.savez(small, images=images(1))
    save(file, images=images(MIB))
    (without,), (alone,), shared = measure(small, 1), measure(file, 1), measure(file, 4)
    data = 0.9 * MIB  # of which a tenth is held out
    assert alone["peak"] - without["peak"] > data
    for one in shared:
        assert one["loaded"] < 0.1 * MIB
        assert one["peak"] - without["peak"] < 0.75 * data  # their part, twice while it is copied
        np.testing.assert_allclose(one["nll"], alone["nll"], rtol=1e-5)
