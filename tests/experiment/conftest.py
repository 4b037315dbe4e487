"""The command, in this process or in one of its own, on a tiny run."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from absl import flags

from tests.experiment.validated_run import VALIDATED, file_of
from vaejax import main

ROOT = Path(main.__file__).parent.parent
TINY = [
    "--config=configs/beta_vae.py",
    "--config.train.steps=4",
    "--config.train.batch_size=8",
    "--config.train.steps_per_dispatch=2",
    "--config.train.log_every=2",
    "--config.train.checkpoint_every=2",
    "--config.model.network.kind=mlp",
    "--config.mesh.data=1",
]


def command(*arguments):
    """The command in this process: exit status, standard output, standard error."""
    argv, out, err = ["main", *map(str, arguments)], io.StringIO(), io.StringIO()
    for name in [name for name in flags.FLAGS if name.startswith("config.")]:
        delattr(flags.FLAGS, name)
    names = ("config", "workdir", "mode", "split", "data", "output", "reconstructions")
    others = ("show_config", "checkpoint", "allow_change", "hub", "hub_private")
    for name in (*names, *others):
        flags.FLAGS[name].unparse()
    flags.FLAGS.unparse_flags()
    with (
        mock.patch.object(sys, "argv", argv),
        contextlib.chdir(ROOT),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main.main(main._parse(argv))
            code = 0
        except SystemExit as stop:
            code = stop.code
    return code, out.getvalue(), err.getvalue()


def subprocess_of(arguments, **options):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_ENABLE_COMPILATION_CACHE": "false"}
    return subprocess.Popen(
        [sys.executable, "-m", "vaejax.main", *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.fixture(name="command", scope="session")
def command_fixture():
    return command


@pytest.fixture(scope="session")
def start():
    return subprocess_of


@pytest.fixture(scope="session")
def one_line():
    """What an error says, after a check that it is one line of standard error."""

    def of(err):
        (line,) = err.splitlines()
        assert line.startswith("error: ")
        return line

    return of


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """The flags of a tiny run on 40 small images, 4 of them held out."""
    file = tmp_path_factory.mktemp("data") / "tiny.npz"
    np.savez(file, image=(np.random.RandomState(0).rand(40, 8, 8, 1) < 0.5))
    return [*TINY, f"--config.data.source=npz:{file}"]


@pytest.fixture(scope="session")
def finished(data, tmp_path_factory):
    """The working directory of the tiny run, which tests copy or leave unchanged; its output."""
    workdir = tmp_path_factory.mktemp("finished") / "new" / "run"
    code, out, err = command(*data, f"--workdir={workdir}")
    assert code == 0, err
    return workdir, out


@pytest.fixture(scope="session")
def splits(tmp_path_factory):
    """The flag of small images in three splits."""
    return file_of(tmp_path_factory.mktemp("splits") / "a.npz")


@pytest.fixture(scope="session")
def validated(splits, tmp_path_factory):
    """The working directory of a run with a validation split, not to be changed; its output."""
    workdir = tmp_path_factory.mktemp("validated") / "run"
    code, out, err = command(*VALIDATED, splits, f"--workdir={workdir}")
    assert code == 0, err
    return workdir, out
