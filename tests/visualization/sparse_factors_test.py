"""The figure of a sparse decoder's factors."""

from tests.evaluation.sparse_factors_test import NAMES, WEIGHTS
from vaejax.visualization.sparse_factors import draw_sparse_factors


def test_figure_of_factors(tmp_path):
    draw_sparse_factors(tmp_path / "factors.png", WEIGHTS, NAMES)
    assert (tmp_path / "factors.png").stat().st_size > 5_000
    draw_sparse_factors(tmp_path / "none.png", 0 * WEIGHTS, NAMES)
    assert not (tmp_path / "none.png").exists()
