"""The command with `--config.evaluate.disentanglement=True`."""

import json

import jax
import numpy as np
import pytest

from vaejax.evaluation import disentanglement as metrics
from vaejax.evaluation import final_metrics

FLAG = "--config.evaluate.disentanglement=True"


@pytest.mark.slow
def test_a_run_writes_the_metrics_of_its_evaluation(command, data, tmp_path, monkeypatch):
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
    seen = []

    def mig_alone(family, params, source, key, **options):
        """All metrics take seconds to compile; `trained_test.py` has them."""
        seen.append((source.split, source.size, options))
        jax.random.split(key)
        codes, factors = metrics.encode_split(metrics.mean_encoder(family, params), source)
        return {"mig": float(metrics.mig(codes, factors)["mig"])}

    monkeypatch.setattr(final_metrics, "disentanglement_metrics", mig_alone)
    code, out, err = command(*flags, "--mode=evaluate", FLAG)
    assert (code, err) == (0, "")
    assert seen == [("eval", 60, {"binarize": "none"})]
    after = json.loads((tmp_path / "run/evaluation.json").read_text())
    assert 0 < after.pop("mig") < 1
    assert after == pytest.approx(before)
    assert "mig" in out


def test_data_without_factors(command, one_line, data, tmp_path):
    code, _, err = command(*data, FLAG, f"--workdir={tmp_path / 'run'}")
    assert code == 2
    assert "has no factors, which disentanglement metrics need: use sprites" in one_line(err)
    assert not (tmp_path / "run").exists()
