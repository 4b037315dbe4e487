"""The rate-distortion figure is written for metrics that have a curve."""

from vaejax.visualization.rate_distortion import draw_rate_distortion


def test_figure_is_written_if_there_is_a_curve(tmp_path):
    curve = {f"rate/{b}": r for b, r in (("0.1", 0.5), ("0.5", 2.0), ("1", 3.0), ("q", 4.0))}
    curve |= {f"distortion/{b}": d for b, d in (("0.1", 9.0), ("0.5", 5.0), ("1", 4.5), ("q", 5.0))}
    assert draw_rate_distortion(tmp_path / "curve.png", {"elbo": -9.0, **curve})
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert not draw_rate_distortion(tmp_path / "none.png", {"elbo": -9.0})
    assert not (tmp_path / "none.png").exists()
