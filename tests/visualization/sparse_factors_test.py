"""Which columns use a factor most, by hand."""

import numpy as np

from vaejax.visualization.sparse_factors import draw_factors, top_columns


def test_the_top_columns_of_each_factor_are_named_and_drawn(tmp_path):
    weights = np.zeros((6, 3), np.float32)
    weights[[0, 2, 5], 0] = [0.5, -2.0, 1.0]
    weights[[1, 3], 2] = [3.0, 0.1]
    names = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta")
    found = top_columns(weights, names, count=2)
    assert [f.factor for f in found] == [0, 2]  # by how much they weigh, unused ones left out
    assert found[0].columns == ("gamma", "zeta")
    assert found[1].columns == ("beta", "delta")
    np.testing.assert_allclose(found[0].weights, [-2.0, 1.0])
    assert top_columns(weights, None, count=1)[0].columns == ("column 2",)
    draw_factors(tmp_path / "factors.png", weights, names)
    assert (tmp_path / "factors.png").stat().st_size > 5_000
