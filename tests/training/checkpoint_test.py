"""Checkpoints: exact round trips, other meshes, which ones are kept, detection of damage."""

import contextlib
import gc
import json
import random
import resource
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vaejax.core import game
from vaejax.core.files import WriteError
from vaejax.core.sharding import make_mesh, tree_sharding
from vaejax.training import checkpoint
from vaejax.training.checkpoint import Checkpoints, CorruptCheckpointError
from vaejax.training.checkpoint_reader import best_step, checkpoint_steps, restore_checkpoint
from vaejax.training.checkpoint_record import _crc_of
from vaejax.training.restore import restore_state
from vaejax.training.train_step import TrainState

PLAYERS = {
    "vae": game.Player(("encoder", "decoder"), {}, optax.adamw(1e-3)),
    "codebook": game.Player(("codebook",), {}, optax.sgd(0.1, momentum=0.9)),
}


def random_state(seed=0, ema=True):
    """A state of two players, whose `optax.partition` has masked nodes."""
    rng = np.random.RandomState(seed)

    def normal(*shape):
        return jnp.asarray(rng.standard_normal(shape), jnp.float32)

    params = {
        "encoder": {"Dense_0": {"kernel": normal(64, 64), "bias": normal(64)}},
        "decoder": {"Dense_0": {"kernel": normal(64, 128), "bias": normal(128)}, "none": {}},
        "codebook": normal(64, 64),
    }
    opt_state = game.optimizer(PLAYERS).init(params)
    opt_state = jax.tree.map(lambda a: a + jnp.asarray(rng.randint(9), a.dtype), opt_state)
    average = jax.tree.map(lambda a: a * 0.5, params) if ema else {}
    return TrainState(
        jnp.int32(7), params, opt_state, average, jnp.int32(2), jnp.int32(5), jnp.float32(-3.0),
        jnp.int32(4), jnp.int32(1), jnp.int32(6), {},
    )  # fmt: skip


def shapes_of(state, mesh=None):
    sharding = tree_sharding(mesh or make_mesh(1), state)
    return jax.tree.map(
        lambda a, at: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=at), state, sharding
    )


def assert_same_bits(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "checkpoints"


def save(folder, state, step=7):
    checkpoints = Checkpoints(folder)
    checkpoints.save(step, state)
    checkpoints.close()


def restore(folder, like, step=None):
    checkpoints = Checkpoints(folder)
    try:
        return checkpoints.restore(like, step)
    finally:
        checkpoints.close()


@pytest.mark.parametrize("ema", [False, True])
def test_round_trip(folder, ema):
    state = random_state(ema=ema)
    assert "MaskedNode" in str(jax.tree.structure(state.opt_state))
    save(folder, state)
    assert_same_bits(restore(folder, shapes_of(state)), state)


def test_special_values_are_restore(folder):
    state = random_state()
    special = jnp.array([jnp.nan, -jnp.inf, -0.0, 1e-45, 3.4e38], jnp.float32)
    state.params["encoder"]["special"] = special
    save(folder, state)
    read = restore(folder, shapes_of(state)).params["encoder"]["special"]
    bits, expected = (np.asarray(a).view(np.uint32) for a in (read, special))
    np.testing.assert_array_equal(bits, expected)


def test_restoring_onto_other_meshes(folder):
    """Eight devices, then two, then one; each saves the state restored from the one before."""
    state = on_mesh = random_state()
    for step, (data, fsdp) in enumerate([(2, 4), (1, 8), (1, 2), (1, 1)]):
        mesh = make_mesh(data, fsdp)
        on_mesh = jax.device_put(on_mesh, tree_sharding(mesh, on_mesh))
        save(folder, on_mesh, step)
        on_mesh = restore(folder, shapes_of(state, mesh))
        assert_same_bits(on_mesh, state)
        kernel = on_mesh.params["encoder"]["Dense_0"]["kernel"]
        assert kernel.addressable_shards[0].data.size == kernel.size // fsdp
        assert len(kernel.sharding.device_set) == data * fsdp


def test_another_layout_is_reported(folder):
    state = random_state()
    first, second = make_mesh(2, 4), make_mesh(1, 2)
    save(folder, jax.device_put(state, tree_sharding(first, state)))
    checkpoints = Checkpoints(folder)
    assert checkpoints.other_layout(shapes_of(state, first)) is None
    line = checkpoints.other_layout(shapes_of(state, second))
    checkpoints.close()
    assert "Step 7 was saved by 1 process (mesh.data=2, mesh.fsdp=4)" in line
    assert "resumed by 1 process (mesh.fsdp=2)" in line


def test_the_last_and_the_best_are_kept(folder):
    state = random_state()
    checkpoints = Checkpoints(folder, keep_last=2, keep_best=1)
    kept = []
    for step, elbo in enumerate([-90.0, -50.0, -70.0, -60.0, -80.0, -40.0, -100.0], start=1):
        checkpoints.save(step, state, {"elbo": elbo})
        checkpoints.wait()
        kept.append((checkpoints.steps(), checkpoints.latest(), checkpoints.best()))
    checkpoints.close()
    assert kept == [
        ([1], 1, 1),
        ([1, 2], 2, 2),
        ([2, 3], 3, 2),
        ([2, 3, 4], 4, 2),
        ([2, 4, 5], 5, 2),
        ([5, 6], 6, 6),
        ([6, 7], 7, 6),
    ]
    again = Checkpoints(folder)
    assert (again.steps(), again.latest(), again.best()) == kept[-1]
    again.close()


def test_without_metrics_there_is_no_best_checkpoint(folder):
    checkpoints = Checkpoints(folder, keep_last=1, keep_best=1)
    assert (checkpoints.latest(), checkpoints.best()) == (None, None)
    checkpoints.save(1, random_state())
    checkpoints.save(2, random_state(), {"elbo": -3.0})
    checkpoints.save(3, random_state(), {"elbo": float("nan")})
    checkpoints.save(4, random_state())
    checkpoints.wait()
    assert (checkpoints.steps(), checkpoints.best()) == ([2, 4], 2)
    checkpoints.close()


def test_restoring_an_earlier_step(folder):
    first, second = random_state(1), random_state(2)
    save(folder, first, 1)
    save(folder, second, 2)
    assert_same_bits(restore(folder, shapes_of(first)), second)
    assert_same_bits(restore(folder, shapes_of(first), 1), first)


def test_the_state_may_be_donated_during_a_write(folder):
    state = random_state()
    expected = jax.tree.map(lambda a: np.array(a, copy=True), state)
    overwrite = jax.jit(lambda s: jax.tree.map(lambda a: a + 1, s), donate_argnums=0)
    checkpoints = Checkpoints(folder)
    checkpoints.save(7, state)
    for _ in range(20):
        state = overwrite(state)
    jax.block_until_ready(state)
    checkpoints.close()
    assert_same_bits(restore(folder, shapes_of(state)), expected)


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


@pytest.mark.parametrize("seed", range(2))
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


def test_a_checkpoint_of_an_earlier_version(folder, monkeypatch):
    """Checksums by name alone, and no number of all skipped steps."""
    state = random_state()
    tree = checkpoint.to_dict(state)
    tree.pop("total_skipped")
    sums = {name: a["crc32"] for name, a in checkpoint.record_of(tree)["arrays"].items()}
    monkeypatch.setattr(checkpoint, "to_dict", lambda _: tree)
    monkeypatch.setattr(checkpoint, "record_of", lambda *_: sums)
    save(folder, state)
    restored = restore_checkpoint(folder, shapes_of(state), 7)
    assert int(restored.total_skipped) == 0
    assert_same_bits(restored._replace(total_skipped=state.total_skipped), state)
    sums["params/codebook"] ^= 1
    (folder / "7" / "checksums" / "metadata").write_text(json.dumps(sums))
    with pytest.raises(CorruptCheckpointError, match="params/codebook"):
        restore_checkpoint(folder, shapes_of(state), 7)


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


def test_a_checkpoint_that_is_deleted_while_it_is_read(folder, monkeypatch):
    """The training keeps the newest two: a reader takes the newest that is left."""
    first, second = random_state(1), random_state(2)
    save(folder, first, 1)
    read = restore_checkpoint

    def restore_and_delete(directory, like, step):
        if step == 1:
            save(folder, second, 2)
            shutil.rmtree(folder / "1")
        return read(directory, like, step)

    monkeypatch.setattr("vaejax.training.restore.restore_checkpoint", restore_and_delete)
    assert_same_bits(restore_state(folder, shapes_of(first)), second)
    with pytest.raises(
        FileNotFoundError, match=r"no checkpoint of step 1; its checkpoints are \[2\]"
    ):
        restore_state(folder, shapes_of(first), 1)


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
