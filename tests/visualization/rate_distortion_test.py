"""The rate-distortion figure is written for metrics that have a curve."""

from vaejax.visualization.rate_distortion import draw_rate_distortion


def test_figure_is_written_if_there_is_a_curve(tmp_path):
    curve = {f"rate/{b}": r for b, r in (("0.1", 0.5), ("0.5", 2.0), ("1", 3.0), ("q", 4.0))}
    curve |= {f"distortion/{b}": d for b, d in (("0.1", 9.0), ("0.5", 5.0), ("1", 4.5), ("q", 5.0))}
    assert draw_rate_distortion({"elbo": -9.0, **curve}, tmp_path)
    assert (tmp_path / "rate_distortion.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "rate_distortion.png").unlink()
    assert not draw_rate_distortion({"elbo": -9.0}, tmp_path)
    assert not list(tmp_path.iterdir())
