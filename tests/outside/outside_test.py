"""A package from outside of the library, from the shell: no file of the library knows its parts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
ALONE = {"JAX_NUM_CPU_DEVICES": "1", "JAX_ENABLE_COMPILATION_CACHE": "false"}
SHORT = [
    *(
        "--config.train.steps=40",
        "--config.train.log_every=20",
        "--config.train.checkpoint_every=40",
    ),
    *("--config.train.eval_examples=30", "--config.sample.count=4"),
]


def shell(*arguments, python=("-m", "vaejax.main")):
    """What a command prints; the parts are on the path as an installed package would be."""
    path = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    done = subprocess.run(
        [sys.executable, *python, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path, **ALONE},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The working directory of a setting, trained when it is first used."""
    made = {}

    def workdir(setting):
        if setting not in made:
            made[setting] = tmp_path_factory.mktemp("outside") / setting
            config = f"--config={HERE / 'config.py'}:{setting}"
            shell(config, *SHORT, f"--workdir={made[setting]}")
        return made[setting]

    return workdir


def test_train_and_the_figures(run):
    folder = run("rings")
    imports = json.loads((folder / "config.json").read_text())["imports"]
    assert "hyperspherical_vae" in imports
    evaluation = json.loads((folder / "evaluation.json").read_text())
    assert np.isfinite(list(evaluation.values())).all()
    assert "active_units" in evaluation
    figures = {file.stem for file in (folder / "figures").iterdir()}
    assert {"traversals", "samples", "reconstructions", "latents", "losses"} <= figures


def test_evaluate_with_metrics(run):
    folder = run("rings")
    flags = [
        *("--config.evaluate.metrics=nearest_class", "--config.evaluate.importance_samples=4"),
        *("--config.evaluate.mutual_information_samples=30", "--mode=evaluate"),
        "--config.evaluate.disentanglement=True",
    ]
    shell(f"--config={HERE / 'config.py'}", *SHORT, *flags, f"--workdir={folder}")
    found = json.loads((folder / "evaluation.json").read_text())
    assert 0 <= found["nearest_class_accuracy"] <= 1
    assert -0.3 <= found["mutual_information"] <= np.log(30) + 1e-6  # an estimate, of few samples
    assert found["mutual_information"] + found["marginal_kl"] == pytest.approx(found["kl"], abs=0.5)
    assert 0 <= found["mig"] <= 1
    assert found["elbo"] < found["log_likelihood"] < 0


FRESH = """
import sys, numpy as np, vaejax
run, codes = map(vaejax.load_run, sys.argv[1:])
source = vaejax.load_data("rings:16", "eval")  # a name that the run's imports registered
x = np.asarray(source.decode(source.take(np.arange(5)))["image"])

z = run.encode(x)
assert z.shape == (5, 6)
np.testing.assert_allclose(np.linalg.norm(z.reshape(5, 2, 3), axis=2), 1, atol=1e-5)
np.testing.assert_allclose(run.decode(z), run.reconstruct(x), atol=1e-5)
assert run.sample(5).shape == x.shape
assert not np.array_equal(run.sample(5), run.sample(5, seed=1))
score = run.score(x, samples=3)
assert all(np.isfinite(a).all() and a.shape == (5,) for a in score.values())
np.testing.assert_allclose(score["elbo"], -score["nll"] - score["kl"], rtol=1e-5)
assert np.isfinite(run.evaluate("rings:16")["elbo"])

z = codes.encode(x)
assert z.shape == (5, 4, 4) and z.dtype == np.int32 and 0 <= z.min() and z.max() < 2**6
np.testing.assert_allclose(codes.decode(z), codes.reconstruct(x), atol=1e-5)
assert set(codes.score(x)) == {"nll", "kl", "elbo"}
print(*sorted(score))
"""


def test_a_fresh_process_opens_the_runs(run):
    """Nothing but the working directories is given: the parts are imported from their configs."""
    out = shell(run("rings"), run("codes"), python=("-c", FRESH))
    assert out.split() == ["elbo", "kl", "log_likelihood", "nll"]


def test_samples_and_export(run):
    folder = run("rings")
    config = f"--config={HERE / 'config.py'}"
    assert "samples.png" in shell(config, *SHORT, "--mode=sample", f"--workdir={folder}")
    shell(config, *SHORT, "--mode=export", f"--workdir={folder}")
    program = (
        "import sys, jax.export, numpy as np\n"
        "read = lambda name: jax.export.deserialize(bytearray(open(name, 'rb').read()))\n"
        "encode, decode = (read(f'{sys.argv[1]}/{n}coder.jaxexport').call for n in ('en', 'de'))\n"
        "z = encode(np.zeros((3, 16, 16, 1), np.float32))\n"
        "x = decode(*z)\n"
        "print(jax.tree.leaves(x)[0].shape, 'vaejax' in sys.modules)\n"
    )
    out = shell(folder / "export", python=("-c", program))
    assert out.strip() == "(3, 16, 16, 1) False"


def test_a_second_stage_over_the_codes(run, tmp_path):
    first = run("codes")
    flags = [
        *("--config=configs/prior.py", f"--config.first_stage={first}", *SHORT),
        *("--config.model.network.layers=1", "--config.model.network.width=16"),
        "--config.train.batch_size=32",
    ]
    shell(*flags, f"--workdir={tmp_path / 'prior'}")
    found = json.loads((tmp_path / "prior" / "evaluation.json").read_text())
    assert 0 < found["bits_per_code"] < 20
    assert found["elbo"] == pytest.approx(-found["nll"] - found["nll_codes"], rel=1e-5)
    assert (tmp_path / "prior" / "figures" / "samples.png").exists()
    program = "import sys, vaejax; print(vaejax.load_run(sys.argv[1]).sample(3, seed=2).shape)"
    assert shell(tmp_path / "prior", python=("-c", program)).strip() == "(3, 16, 16, 1)"


def test_a_sweep_over_an_option_of_the_family(tmp_path):
    grid = "--config.sweep.grid=model.min_concentration=1,4; model.likelihood.scale=0.05,0.2"
    shell(f"--config={HERE / 'config.py'}", *SHORT, grid, f"--workdir={tmp_path / 'sweep'}")
    models = json.loads((tmp_path / "sweep" / "sweep.json").read_text())["models"]
    assert len(models) == 4
    assert len({model["metrics"]["elbo"] for model in models}) == 4
