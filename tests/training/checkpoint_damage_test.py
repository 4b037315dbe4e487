"""Damaged, incomplete and failed checkpoints: an equal state, or one line with file and remedy."""

import contextlib
import gc
import json
import random
import resource

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.training.random_state import assert_same_bits, random_state, restore, save, shapes_of
from vaejax.core.files import WriteError
from vaejax.training.checkpoint import Checkpoints, CorruptCheckpointError
from vaejax.training.checkpoint_index import best_step, checkpoint_steps
from vaejax.training.checkpoint_reader import restore_checkpoint
from vaejax.training.checkpoint_record import _crc_of
from vaejax.training.restore import restore_state


def test_flipped_bits_in_stored_arrays_are_detected(folder):
    state = random_state()
    noise = np.random.RandomState(0).randint(0, 2**32, 2**16, np.uint32)  # incompressible
    state.params["encoder"]["noise"] = jnp.asarray(noise)
    save(folder, state)
    files = [f for f in (folder / "7" / "state").rglob("*") if f.is_file() and f.parent.name == "d"]
    largest = max(files, key=lambda f: f.stat().st_size)
    stored = largest.read_bytes()
    begin = stored.find(noise[1000:1100].tobytes())
    assert begin > 0
    for where in (begin, begin + 17, begin + 399):
        damaged = bytearray(stored)
        damaged[where] ^= 1 << where % 8
        largest.write_bytes(damaged)
        with pytest.raises(CorruptCheckpointError, match=r"differ from .* params/encoder/noise"):
            restore(folder, shapes_of(state))
    largest.write_bytes(stored)
    assert_same_bits(restore(folder, shapes_of(state)), state)


def test_read_errors_are_reported_as_damage(folder, monkeypatch):
    state = random_state()
    save(folder, state)

    def failing_restore(self, *_, **__):
        raise Exception("Encountered error while reading array index: 0\nand much more")

    monkeypatch.setattr("orbax.checkpoint.Checkpointer.restore", failing_restore)
    message = (
        r"checkpoint 7: .*/7/state cannot be read \(Encountered [^\n]*\); copy .* or delete it"
    )
    with pytest.raises(CorruptCheckpointError, match=message):
        restore(folder, shapes_of(state))


def test_an_array_that_differs_from_its_checksum(folder):
    state = random_state()
    save(folder, state, 6)
    save(folder, state, 7)
    file = folder / "7" / "checksums" / "metadata"
    stored = json.loads(file.read_text())
    assert len(stored["arrays"]) == len(jax.tree.leaves(state))
    stored["arrays"]["params/codebook"]["crc32"] ^= 1
    stored["crc32"] = _crc_of(stored["arrays"])
    file.write_text(json.dumps(stored))
    message = r"checkpoint 7: .* 1 arrays .* params/codebook; .*/7 to go back to checkpoint 6"
    with pytest.raises(CorruptCheckpointError, match=message):
        restore(folder, shapes_of(state))
    assert_same_bits(restore(folder, shapes_of(state), 6), state)


def test_incomplete_checkpoints_are_ignored(folder):
    state = random_state()
    save(folder, state)
    leftover = folder / "9.orbax-checkpoint-tmp"
    (leftover / "state").mkdir(parents=True)
    (leftover / "state" / "manifest.ocdbt").write_bytes(b"half")
    checkpoints = Checkpoints(folder)
    assert (checkpoints.steps(), checkpoints.latest()) == ([7], 7)
    assert_same_bits(checkpoints.restore(shapes_of(state)), state)
    checkpoints.save(9, state)
    checkpoints.close()
    assert_same_bits(restore(folder, shapes_of(state), 9), state)


def flips(file, rng, count):
    """Damaged contents of a file: single bits flipped, and a truncation."""
    good = file.read_bytes()
    for _ in range(count):
        damaged = bytearray(good)
        damaged[rng.randrange(len(good))] ^= 1 << rng.randrange(8)
        yield bytes(damaged)
    yield good[: rng.randrange(len(good))]


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_any_damage_is_an_equal_state_or_one_line_with_file_and_remedy(folder, seed):
    state = random_state()
    save(folder, state, 6)
    save(folder, state, 7)
    like, rng, refused = shapes_of(state), random.Random(seed), 0
    for file in sorted(f for f in (folder / "7").rglob("*") if f.is_file()):
        good = file.read_bytes()
        for damaged in flips(file, rng, 2):
            file.write_bytes(damaged)
            message = None
            try:
                restored = restore_checkpoint(folder, like, 7)
            except CorruptCheckpointError as error:
                message = str(error)
            if message is None:
                assert_same_bits(restored, state)
                continue
            refused += 1
            assert "\n" not in message
            assert f"{folder}/7/" in message
            assert message.endswith(f"; delete the folder {folder}/7 to go back to checkpoint 6")
        file.write_bytes(good)
    assert refused > 10
    assert_same_bits(restore_checkpoint(folder, like, 7), state)


def test_the_failed_reads_of_a_damaged_checkpoint_print_nothing(folder, capfd):
    state = random_state()
    save(folder, state)
    for file in (folder / "7" / "state").rglob("d/*"):
        file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(CorruptCheckpointError):
        restore_checkpoint(folder, shapes_of(state), 7)
    gc.collect()
    assert capfd.readouterr() == ("", "")


def test_damaged_metrics_do_not_block_an_intact_state(folder, capsys):
    state = random_state()
    checkpoints = Checkpoints(folder)
    for step, elbo in ((6, -1.0), (7, -2.0)):
        checkpoints.save(step, state, {"elbo": elbo})
    checkpoints.close()
    (folder / "6" / "metrics" / "metrics").write_bytes(b'{"elb\xff": -1.0}')
    assert (best_step(folder), checkpoint_steps(folder)) == (7, [6, 7])
    assert_same_bits(restore_state(folder, shapes_of(state), 6), state)
    again = Checkpoints(folder)  # of a training, which ranks them
    assert (again.steps(), again.best()) == ([6, 7], 7)
    again.close()
    assert f"{folder}/6/metrics/metrics is damaged; checkpoint 6 is kept" in capsys.readouterr().err


def test_a_flipped_name_does_not_leave_an_array_unchecked(folder):
    state = random_state()
    save(folder, state)
    file = folder / "7" / "checksums" / "metadata"
    file.write_bytes(file.read_bytes().replace(b"params/codebook", b"params/codeboo+"))
    with pytest.raises(CorruptCheckpointError, match="checksums/metadata is damaged: it differs"):
        restore_checkpoint(folder, shapes_of(state), 7)


def test_the_checkpoint_of_another_model_is_not_called_damaged(folder):
    state = random_state()
    save(folder, state)
    other = random_state()
    other.params["codebook"] = other.params["codebook"][:32]
    with pytest.raises(
        ValueError, match=r"params/codebook is float32 \[64, 64\], but that of this"
    ):
        restore_checkpoint(folder, shapes_of(other), 7)
    del other.params["codebook"]
    with pytest.raises(
        ValueError, match="holds an array params/codebook, which this model has not"
    ):
        restore_checkpoint(folder, shapes_of(other), 7)


def test_what_a_kill_during_a_deletion_leaves_is_ignored_and_removed(folder):
    state = random_state()
    checkpoints = Checkpoints(folder, keep_last=3)
    for step in (5, 6, 7):
        checkpoints.save(step, state)
    checkpoints.close()
    (folder / "6" / "checksums" / "metadata").unlink()
    assert checkpoint_steps(folder) == [5, 7]
    checkpoints = Checkpoints(folder)
    assert checkpoints.steps() == [5, 7]
    checkpoints.close()
    assert not (folder / "6").exists()


def save_and_wait(checkpoints, state):
    checkpoints.save(7, state)
    checkpoints.wait()


def test_a_failed_write_is_one_line_with_the_path(folder):
    """A limit on the size of files stands for a full disk; the checkpoint before stays."""
    state = random_state()
    save(folder, state, 6)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    checkpoints = Checkpoints(folder)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(WriteError) as caught:
            save_and_wait(checkpoints, state)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        with contextlib.suppress(WriteError):
            checkpoints.close()
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"cannot write {folder}")
    assert checkpoint_steps(folder) == [6]
    assert_same_bits(restore(folder, shapes_of(state)), state)
