"""Mistakes in a command: each is answered by one line that names what is near."""

import shlex
from pathlib import Path

import numpy as np
import pytest

from vaejax import main
from vaejax.experiment.reference import reference_page
from vaejax.experiment.show_config import shown_fields

MISTAKES = {
    "--mod=train": "mode",
    "--mode=trian": "train|evaluate|sample|encode|export",
    "--workdri=x": "workdir",
    "--config=configs/beta_veo.py": "did you mean 'configs/beta_vae.py'",
    "--config=configs/beta_vae.py:mnits": "did you mean 'mnist'",
    "--config.trian.steps=3": "config has no field 'trian' (known: data, evaluate, family, ",
    "--config.train.stepz=3": "config.train has no field 'stepz' (known: batch_size, ",
    "--config.train.steps.more=3": "config.train.steps has no field 'more'",
    "--config.train.steps=many": "--config.train.steps=many",
    "--config.train.steps=0": "train.steps must be at least 1",
    "--config.train.batch_size=0": "train.batch_size must be at least 1",
    "--config.players.vea.learning_rate=1": "did you mean 'vae'",
    "--config.players.vae.minimizes.nl=1": "did you mean 'nll'",
    "--config.players.vae.optimizer=adan": "'adam'",
    "--config.model.latent_dims=3": "did you mean 'latent_dim'",
    "--config.model.network.kind=mpl": "did you mean 'mlp'",
    "--config.model.likelihood=bernouli": "did you mean 'bernoulli'",
    "--config.family=beta_vea": "did you mean 'beta_vae'",
    "--config.data.source=npzz:x": "did you mean 'npz:x'",
    "--config.data.source=npz:/no/such.npz": "no file /no/such.npz",
    "--config.data.binarize=dynamical": "did you mean 'dynamic'",
    "--config.mesh.fsdp=16": "found 8",
    "--config=/no/such/folder/beta_vae.py": "no config file '/no/such/folder/beta_vae.py'",
    "--config.sweep.over=x": "config.sweep.over is called config.sweep.grid now",
    "--config.prior_of=x": "config.prior_of is called config.first_stage now",
    "--config.train.max_skipped=3": "config.train.max_consecutive_nonfinite now",
    "--config.evaluate.metrics=mgi": "unknown metric 'mgi'",
    "--config.imports=('/no/such.py',)": "config.imports: no file /no/such.py",
    "--config.seed=-1": "seed must be at least 0",
    "--config.data.channels=2": "data.channels must be 0, 1 or 3, found 2",
    "--config.evaluate.examples=-3": "evaluate.examples must be at least 0, found -3",
    "--config.model.latent_dim=0": "model.latent_dim must be at least 1, found 0",
    "--config.model.latent_dim=1000000000000": "at most 65536 (more would not fit into memory)",
    "--config.players.vae.learning_rate=-1": "players.vae.learning_rate must be at least 0",
    "--config.players.vae.learning_rate=nan": "must be a finite number, found nan",
    "--config.data.condition_dropout=0.5": "would have no effect: the model reads no label",
    "--config.model.likelihood.kind=laplace": "--config.model.likelihood=NAME (known: bernoulli, ",
    "--config.model.likelihood[0]=a": "'bernoulli', which has no elements",
    "--config.model.network=mlp": "write --config.model.network.kind=mlp",
    "--config.train=3": "config.train is a section",
    "--config.data.source=oscillator:length=1000000000": "length must be at most 4096",
    "--config.sweep.grid=players.vae.learning_rate=-1,1": "players.vae.learning_rate must be",
    "stray": "unexpected arguments ['stray']",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_end_in_one_line(command, one_line, data, tmp_path, mistake):
    code, out, err = command(*data, mistake, f"--workdir={tmp_path / 'run'}")
    assert (code, out) == (2, "")
    assert MISTAKES[mistake] in one_line(err)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--config is missing"),
        (["--config.train.steps=3"], "--config.train.steps comes before --config=FILE"),
        (["--config=configs/beta_vae.py"], "--workdir is missing"),
    ],
)
def test_missing_flags(command, one_line, arguments, message):
    code, _, err = command(*arguments)
    assert code == 2
    assert message in one_line(err)


def test_an_unknown_loss(command, one_line, data, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from vaejax.configs import beta_vae\n"
        "def get_config():\n"
        "    config = beta_vae.get_config()\n"
        "    config.players.vae.minimizes.kll = 2.0\n"
        "    return config\n"
    )
    arguments = [f"--config={file}", *data[1:], f"--workdir={tmp_path / 'run'}"]
    code, _, err = command(*arguments)
    assert (code, (tmp_path / "run").exists()) == (2, False)
    assert "player 'vae' minimises an unknown loss 'kll' (known: kl, nll)" in one_line(err)


FILES = {
    "config.data.binarise = 1": "config.data has no field 'binarise' (known: ",
    "config.evaluate.sample = 3": "config.evaluate has no field 'sample'",
    "config.sample.top_k = 3": "config.sample has no field 'top_k'",
    "config.steps = 3": "config has no field 'steps'",
    "config.model.network.hidden = (16.5,)": "hidden",
    "config.model.network = {'kind': 'mlp', 'hidden': (0,)}": "every number of model.network",
    "config.players.vae.clip_norm = -1": "players.vae.clip_norm must be at least 0, found -1",
    "config.players.vae.b1 = 1.5": "players.vae.b1 must be in [0, 1), found 1.5",
    "del config.data.holdout": "the config lacks data.holdout",
    "del config.players": "the config lacks players",
    "1 / 0": "ZeroDivisionError: division by zero",
    "config.train.steps = 'x'": "TypeError: Could not override field 'steps'",
    "config = {}": "must return a ConfigDict",
}


@pytest.mark.parametrize("line", FILES)
def test_mistakes_in_a_config_file(command, one_line, tmp_path, line):
    file = tmp_path / "mine.py"
    file.write_text(
        "from vaejax.configs import beta_vae\n"
        "def get_config():\n"
        "    config = beta_vae.get_config()\n"
        f"    {line}\n"
        "    return config\n"
    )
    code, out, err = command(f"--config={file}", f"--workdir={tmp_path / 'run'}")
    assert (code, out, (tmp_path / "run").exists()) == (2, "", False)
    assert FILES[line] in one_line(err)


@pytest.mark.parametrize("flag", ["binarize=threshold", "image_size=8", "channels=1"])
def test_settings_of_images_for_vectors(command, one_line, tmp_path, flag):
    np.savez(tmp_path / "rows.npz", vector=np.random.RandomState(0).randn(40, 3))
    source = f"--config.data.source=npz:{tmp_path / 'rows.npz'}"
    workdir = f"--workdir={tmp_path / 'run'}"
    config = ("--config=configs/beta_vae.py", "--config.model.likelihood=normal")
    code, _, err = command(*config, source, f"--config.data.{flag}", workdir)
    assert (code, (tmp_path / "run").exists()) == (2, False)
    assert "is for images, but npz:" in one_line(err)


ERRORS = {
    "AssertionError": AssertionError("rank 3"),
    "XlaRuntimeError": RuntimeError("RESOURCE_EXHAUSTED: Out of memory\nallocating 3 GiB"),
    "KeyError": KeyError("steps"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_no_error_is_a_traceback(command, one_line, data, tmp_path, monkeypatch, name):
    def run(*args, **options):
        raise ERRORS[name]

    monkeypatch.setattr(main, "run", run)
    code, _, err = command(*data, f"--workdir={tmp_path / 'run'}")
    message = one_line(err)
    assert code == 2
    if name == "XlaRuntimeError":
        assert "out of memory; make train.batch_size" in message
    else:
        assert name in message
        assert message.endswith("(set VAEJAX_TRACEBACK=1 for the traceback)")


def test_fields_with_their_help():
    config = {"seed": 0, "train": {"steps": 3}, "model": {"latent_dim": 2}}
    lines = shown_fields(config, helps=True)
    steps = "a whole number, at least 1 and at most 1000000000000: total number of steps"
    assert lines[1].endswith(f"  # {steps}")
    assert shlex.split("\n".join(lines), comments=True) == shown_fields(config, helps=False)


def test_the_reference_page_is_that_of_the_declarations():
    page = Path(main.__file__).parents[1] / "docs" / "reference" / "config.md"
    assert page.read_text(encoding="utf-8") == reference_page()


@pytest.mark.parametrize("setting", ["", ":mnist", ":capacity"])
def test_shown_fields_can_be_pasted_back(command, setting):
    config = f"--config=configs/beta_vae.py{setting}"
    changes = ["--config.train.steps=7", "--config.data.source=folder:/a b/c's"]
    code, shown, _ = command(config, *changes, "--show_config")
    assert code == 0
    pasted = shlex.split(shown)
    assert set(changes) <= set(pasted)
    assert len(pasted) > 30
    assert command(config, *pasted, "--show_config") == (0, shown, "")


def test_a_mistake_in_a_process_of_its_own(one_line, start, data, tmp_path):
    process = start([*data, "--config.train.stepz=3", f"--workdir={tmp_path / 'run'}"])
    out, err = process.communicate(timeout=300)
    assert (process.returncode, out, (tmp_path / "run").exists()) == (2, "", False)
    assert "did you mean 'steps'" in one_line(err)
