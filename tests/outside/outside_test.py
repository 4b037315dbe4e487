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
def rings(tmp_path_factory):
    """The working directory of a run with all metrics, by the command in its own process."""
    folder = tmp_path_factory.mktemp("outside") / "rings"
    flags = [
        *("--config.evaluate.metrics=nearest_class", "--config.evaluate.importance_samples=4"),
        "--config.evaluate.mutual_information_samples=30",
        "--config.evaluate.disentanglement=True",
    ]
    shell(f"--config={HERE / 'config.py'}", *SHORT, *flags, f"--workdir={folder}")
    return folder


# One process runs several commands, since each takes seconds to start.
COMMANDS = """
import json, sys
from tests.experiment.conftest import command
for arguments in json.loads(sys.argv[1]):
    code, out, err = command(*arguments)
    assert code == 0, err
    print(out)
"""


@pytest.fixture(scope="module")
def further(rings):
    """A folder with a run of `codes`, a prior over these and a sweep; also samples and exports."""
    folder, config = rings.parent, f"--config={HERE / 'config.py'}"
    figures = "--config.evaluate.figures=False"
    prior = [
        *("--config=configs/prior.py", f"--config.first_stage={folder / 'codes'}", *SHORT),
        *("--config.model.network.layers=1", "--config.model.network.width=16"),
        "--config.train.batch_size=32",
    ]
    grid = "--config.sweep.grid=model.min_concentration=1,4; model.likelihood.scale=0.05,0.2"
    commands = [
        [f"{config}:codes", *SHORT, figures, f"--workdir={folder / 'codes'}"],
        [*prior, f"--workdir={folder / 'prior'}"],
        [config, *SHORT, grid, f"--workdir={folder / 'sweep'}"],
        *(
            [config, *SHORT, f"--mode={mode}", f"--workdir={rings}"]
            for mode in ("sample", "export")
        ),
    ]
    assert "samples.png" in shell(json.dumps(commands), python=("-c", COMMANDS))
    return folder


@pytest.mark.slow
def test_train_with_all_metrics_and_the_figures(rings):
    imports = json.loads((rings / "config.json").read_text())["imports"]
    assert "hyperspherical_vae" in imports
    evaluation = json.loads((rings / "evaluation.json").read_text())
    assert np.isfinite(list(evaluation.values())).all()
    assert "active_units" in evaluation
    assert 0 <= evaluation["nearest_class_accuracy"] <= 1
    information = evaluation["mutual_information"]
    assert -0.3 <= information <= np.log(30) + 1e-6  # an estimate, of few samples
    assert information + evaluation["marginal_kl"] == pytest.approx(evaluation["kl"], abs=0.5)
    assert 0 <= evaluation["mig"] <= 1
    assert evaluation["elbo"] < evaluation["log_likelihood"] < 0
    figures = {file.stem for file in (rings / "figures").iterdir()}
    assert {"traversals", "samples", "reconstructions", "latents", "losses"} <= figures


FRESH = """
import sys, numpy as np, vaejax
run, codes, prior = map(vaejax.load_run, sys.argv[1:])
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
assert prior.sample(3, seed=2).shape == (3, 16, 16, 1)
print(*sorted(score))
"""


@pytest.mark.slow
def test_a_fresh_process_opens_the_runs(rings, further):
    """Nothing but the working directories is given: the parts are imported from their configs."""
    out = shell(rings, further / "codes", further / "prior", python=("-c", FRESH))
    assert out.split() == ["elbo", "kl", "log_likelihood", "nll"]


@pytest.mark.slow
@pytest.mark.usefixtures("further")
def test_exported_programs_need_none_of_it(rings):
    program = (
        "import sys, jax.export, numpy as np\n"
        "read = lambda name: jax.export.deserialize(bytearray(open(name, 'rb').read()))\n"
        "encode, decode = (read(f'{sys.argv[1]}/{n}coder.jaxexport').call for n in ('en', 'de'))\n"
        "z = encode(np.zeros((3, 16, 16, 1), np.float32))\n"
        "x = decode(*z)\n"
        "print(jax.tree.leaves(x)[0].shape, 'vaejax' in sys.modules)\n"
    )
    out = shell(rings / "export", python=("-c", program))
    assert out.strip() == "(3, 16, 16, 1) False"


@pytest.mark.slow
def test_a_second_stage_over_the_codes(further):
    found = json.loads((further / "prior" / "evaluation.json").read_text())
    assert 0 < found["bits_per_code"] < 20
    assert found["elbo"] == pytest.approx(-found["nll"] - found["nll_codes"], rel=1e-5)
    assert (further / "prior" / "figures" / "samples.png").exists()


@pytest.mark.slow
def test_a_sweep_over_an_option_of_the_family(further):
    models = json.loads((further / "sweep" / "sweep.json").read_text())["models"]
    assert len(models) == 4
    assert len({model["metrics"]["elbo"] for model in models}) == 4
