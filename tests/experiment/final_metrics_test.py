"""Metrics that do not apply to a model are refused before any training."""

import numpy as np
import pytest

from vaejax.core.plugins import load_file
from vaejax.data import from_arrays
from vaejax.evaluation import AnnealingOptions, EvaluateOptions
from vaejax.evaluation.metric import check_metrics
from vaejax.experiment.build import build
from vaejax.experiment.stock_configs import stock_configs

SMALL = {"kind": "residual", "hidden": 8, "downsamplings": 1, "blocks": 1}


@pytest.fixture(scope="module")
def quantized():
    """The model of configs/vqvae.py, with a small network, and images."""
    config = load_file(stock_configs() / "vqvae.py").get_config().to_dict()
    config["model"]["network"] = SMALL
    images = from_arrays(np.zeros((10, 8, 8, 1), np.uint8))
    return build(config, (8, 8, 1)), images


@pytest.mark.parametrize(
    ("options", "field", "reason"),
    [
        ({"importance_samples": 5}, "importance_samples", "are: OneHotCodes"),
        ({"metrics": "likelihood"}, "metrics=likelihood", "are: OneHotCodes"),
        ({"mutual_information_samples": 5}, "mutual_information_samples", "has OneHotCodes"),
        ({"annealing": AnnealingOptions(temperatures=5)}, "annealing.temperatures", "Uniform"),
        ({"disentanglement": True}, "disentanglement", "has no factors"),
    ],
)
def test_metrics_that_do_not_apply_to_a_quantized_model(quantized, options, field, reason):
    with pytest.raises(ValueError, match=rf"evaluate\.{field} does not apply here: .*{reason}"):
        check_metrics(*quantized, EvaluateOptions(**options))


@pytest.mark.parametrize(
    ("config", "message"),
    [("prior", "posteriors of this model are: none"), ("td_vae", "trained on pairs of times")],
)
def test_they_are_refused_before_any_training(command, one_line, config, message, tmp_path):
    flags = [f"--config=configs/{config}.py", "--config.evaluate.importance_samples=5"]
    code, _, err = command(*flags, "--config.mesh.data=1", f"--workdir={tmp_path / 'run'}")
    assert (code, (tmp_path / "run").exists()) == (2, False)
    assert message in one_line(err)
