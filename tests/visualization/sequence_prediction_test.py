"""Figures of predictions: errors by horizon, films and signals."""

from matplotlib import image

from tests.evaluation.sequence_prediction_test import counting, films
from vaejax.core.game import Family
from vaejax.data import from_arrays
from vaejax.evaluation import EvaluationContext
from vaejax.visualization.sequence_prediction import draw_prediction_errors, draw_predictions


def test_errors_by_horizon_are_drawn_if_there_are_any(tmp_path):
    errors = {f"mse_{kind}/{h}": 0.1 * h for kind in ("rollout", "copy_last") for h in (1, 2, 10)}
    errors |= {"mse_direct/1": 0.1, "mse_direct/2": 0.3}
    assert draw_prediction_errors({"elbo": -1.0, **errors}, tmp_path)
    assert min(image.imread(tmp_path / "horizons.png").shape[:2]) > 100
    (tmp_path / "horizons.png").unlink()
    assert not draw_prediction_errors({"elbo": -1.0}, tmp_path)
    assert not list(tmp_path.iterdir())


def test_figures_of_films_and_of_signals(tmp_path):
    cases = {
        "rollouts.png": ({"sequence": films(20)}, (4, 4, 1)),
        "predictions.png": ({"signal": films(20, shape=(1,))}, (1,)),
    }
    for name, (arrays, shape) in cases.items():
        source = from_arrays(arrays, "eval", name="films", holdout=0.5)
        family = Family(counting(shape=shape), None, {})
        path = draw_predictions(EvaluationContext(family, {}, source), tmp_path)
        assert path == tmp_path / name
        assert min(image.imread(path).shape[:2]) > 100
    assert (tmp_path / "rollouts.gif").exists()
