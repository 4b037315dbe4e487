"""Runs that start from the parameters of another, by the command."""

import shutil

import numpy as np
import pytest

import vaejax
from tests.experiment.validated_run import VALIDATED, arrays_of, best_of, file_of, run
from vaejax.export.safetensors import save_params


@pytest.mark.slow
def test_a_run_starts_from_another_ones_best_parameters(command, splits, validated, tmp_path):
    """With a learning rate of 0 they are still those at the end; also by groups and from files."""
    source = arrays_of(validated[0], "best")
    still = [*VALIDATED, splits, "--config.train.steps=2", "--config.players.vae.learning_rate=0.0"]
    out = run(
        command, *still, f"--config.init_from={validated[0]}", f"--workdir={tmp_path / 'whole'}"
    )
    assert f"step {best_of(validated[0])}, the best by validation" in out
    assert "taken: decoder (6 arrays), encoder (6 arrays)" in out
    assert "not taken: nothing" in out
    whole = arrays_of(tmp_path / "whole")
    assert all(np.array_equal(whole[name], source[name]) for name in source)

    file = tmp_path / "params.safetensors"
    save_params(file, vaejax.load_run(validated[0]).params)
    out = run(
        command,
        *still,
        f"--config.init_from={file}",
        "--config.init_groups=decoder",
        f"--workdir={tmp_path / 'part'}",
    )
    assert "encoder (not in init_groups)" in out
    part = arrays_of(tmp_path / "part")
    equal = {name: np.array_equal(part[name], source[name]) for name in source}
    assert all(same for name, same in equal.items() if name.startswith("decoder"))
    assert not all(same for name, same in equal.items() if name.startswith("encoder"))


@pytest.mark.slow
def test_another_image_size(command, validated, tmp_path):
    """An MLP's first and last layers have other shapes; everything else is taken."""
    other = file_of(tmp_path / "b.npz", size=4)
    flags = [*VALIDATED, other, "--config.train.steps=2", f"--config.init_from={validated[0]}"]
    out = run(command, *flags, f"--workdir={tmp_path / 'run'}")
    (taken,) = (line for line in out.splitlines() if line.startswith("  taken:"))
    (left,) = (line for line in out.splitlines() if line.startswith("  not taken:"))
    assert "decoder (4 of 6 arrays), encoder (5 of 6 arrays)" in taken
    assert "there, " in left


@pytest.mark.slow
def test_a_fine_tuned_run_resumes_and_frozen_groups_stay(command, splits, validated, tmp_path):
    source = arrays_of(validated[0], "best")
    tune = [
        *VALIDATED,
        splits,
        f"--config.init_from={validated[0]}",
        "--config.freeze_groups=encoder",
    ]
    for name, stops in (("a", [8]), ("b", [4, 8])):
        for steps in stops:
            flags = [*tune, f"--config.train.steps={steps}", f"--workdir={tmp_path / name}"]
            out = run(command, *flags)
    assert "init_from" not in out  # a resumed run does not read it
    a, b = (arrays_of(tmp_path / name) for name in "ab")
    assert all(np.array_equal(a[name], b[name]) for name in a)
    moved = {name for name in a if not np.array_equal(a[name], source[name])}
    assert moved == {name for name in a if name.startswith("decoder")}


@pytest.mark.slow
def test_init_from_must_be_the_same_before_the_first_checkpoint(
    command, splits, validated, one_line, tmp_path
):
    workdir, file = tmp_path / "run", tmp_path / "params.safetensors"
    flags = [*VALIDATED, splits, f"--config.init_from={file}", f"--workdir={workdir}"]
    save_params(file, vaejax.load_run(validated[0], 2).params)
    run(command, *flags, "--config.train.steps=2")
    save_params(file, vaejax.load_run(validated[0], 4).params)
    run(command, *flags, "--config.train.steps=4")  # which goes on from its checkpoint
    shutil.rmtree(workdir / "checkpoints")
    code, _, err = command(*flags)
    assert code == 2
    assert "other parameters than when the run was started" in one_line(err)
