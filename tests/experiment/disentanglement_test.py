"""The command with `--config.evaluate.disentanglement=True`."""

import json

import numpy as np
import pytest

FLAG = "--config.evaluate.disentanglement=True"


@pytest.mark.slow
def test_a_run_writes_the_metrics_of_its_evaluation(command, data, tmp_path):
    rng = np.random.RandomState(0)
    factors = np.stack([rng.randint(n, size=120) for n in (2, 3)], axis=1)
    image = np.zeros((120, 8, 8, 1), np.float32)
    image[:, :4] = factors[:, 0, None, None, None]
    image[:, 4:] = factors[:, 1, None, None, None] / 2
    np.savez(tmp_path / "factors.npz", image=image, factors=factors)
    flags = [*data[:-1], f"--config.data.source=npz:{tmp_path / 'factors.npz'}"]
    flags += ["--config.data.holdout=0.5", f"--workdir={tmp_path / 'run'}"]
    assert command(*flags)[0] == 0
    before = json.loads((tmp_path / "run/evaluation.json").read_text())
    flags.append("--config.evaluate.metrics=mig,irs")
    code, out, err = command(*flags, "--mode=evaluate")
    assert (code, err) == (0, "")
    after = json.loads((tmp_path / "run/evaluation.json").read_text())
    assert 0 <= after.pop("mig") <= 1
    assert 0 <= after.pop("irs") <= 1
    assert after == pytest.approx(before)
    assert "mig" in out


def test_data_without_factors(command, one_line, data, tmp_path):
    code, _, err = command(*data, FLAG, f"--workdir={tmp_path / 'run'}")
    assert code == 2
    assert "has no factors, which disentanglement metrics need: use sprites" in one_line(err)
    assert not (tmp_path / "run").exists()
