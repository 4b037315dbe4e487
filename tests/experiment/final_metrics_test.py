"""Questions at the end of a run that its model cannot answer are refused before any training."""

import pytest


@pytest.mark.parametrize(
    ("config", "flag", "told"),
    [
        ("vqvae", "samples=5", "those of this one are: Codes"),
        ("vqvae", "information=5", "a Gaussian vector; this model has Codes"),
        ("vqvae", "annealing.temperatures=5", "the priors of this one are: Uniform"),
        ("prior", "samples=5", "those of this one are: none"),
        ("td_vae", "samples=5", "this one explains pairs of times"),
    ],
)
def test_what_a_model_cannot_answer(command, one_line, config, flag, told, tmp_path):
    flags = [f"--config=configs/{config}.py", f"--config.evaluate.{flag}", "--config.mesh.data=1"]
    code, _, err = command(*flags, f"--workdir={tmp_path / 'run'}")
    assert (code, (tmp_path / "run").exists()) == (2, False)
    assert told in one_line(err)
