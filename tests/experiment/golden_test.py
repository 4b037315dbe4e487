"""Every config after 20 steps has the metrics that it had before the code was moved into rooms.

`golden.json` was written at commit 089e2c8 on an x86-64 CPU with jax 0.10.2. On the same machine
the numbers are equal; elsewhere rounding differs, and 20 steps of training amplify it.
"""

import json
from pathlib import Path

import pytest

GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())
LOADED = {"beta_vae:vamp", "hierarchical:lvae", "cvae:quadrants_1"}  # MNIST from TFDS
SHORT = [
    *("--config.train.steps=20", "--config.train.log_every=5", "--config.train.eval_examples=256"),
    *("--config.train.checkpoint_every=20", "--config.mesh.data=1"),
]

# The model that the default setting of configs/vqvae.py had then, without a second stage.
VQVAE = ["--config.model.quantizer.codes=512", "--config.second_stage.family="]


@pytest.mark.slow
@pytest.mark.parametrize("config", sorted(GOLDEN.keys() - LOADED))
def test_the_metrics_are_those_of_before(command, config, tmp_path):
    name, colon, setting = config.partition(":")
    flags = [f"--config=configs/{name}.py{colon}{setting}", *SHORT]
    if config == "vqvae":
        flags += VQVAE
    if config == "prior":
        first = tmp_path / "vqvae"
        first_flags = ["--config=configs/vqvae.py", *VQVAE, *SHORT, f"--workdir={first}"]
        code, _, err = command(*first_flags)
        assert code == 0, err
        flags.append(f"--config.first_stage={first}")
    code, _, err = command(*flags, f"--workdir={tmp_path / 'run'}")
    assert code == 0, err
    evaluation = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    # Since then the statistics of a batch say so in their names, and skipped steps are counted.
    found = {k.removeprefix("batch/"): v for k, v in evaluation.items() if k != "skipped"}
    assert found.keys() == GOLDEN[config].keys()
    for metric in ("nll", "elbo", "mse"):
        if metric in found:
            assert found[metric] == pytest.approx(GOLDEN[config][metric], rel=0.02), metric
