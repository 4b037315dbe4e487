"""Metrics that do not apply to a model are refused before any training."""

import pytest


@pytest.mark.parametrize(
    ("config", "flag", "message"),
    [
        ("vqvae", "importance_samples=5", "posteriors of this model are: OneHotCodes"),
        ("vqvae", "mutual_information_samples=5", "this model has OneHotCodes"),
        ("vqvae", "annealing.temperatures=5", "Uniform"),
        ("prior", "importance_samples=5", "posteriors of this model are: none"),
        ("td_vae", "importance_samples=5", "trained on pairs of times"),
    ],
)
def test_metrics_that_do_not_apply(command, one_line, config, flag, message, tmp_path):
    flags = [f"--config=configs/{config}.py", f"--config.evaluate.{flag}", "--config.mesh.data=1"]
    code, _, err = command(*flags, f"--workdir={tmp_path / 'run'}")
    assert (code, (tmp_path / "run").exists()) == (2, False)
    assert message in one_line(err)
