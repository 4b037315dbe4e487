"""Mistakes in a command: each is answered by one line that names what is near."""

import shlex

import pytest

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
