"""Checkpoints: exact round trips, other meshes, which ones are kept, detection of damage."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vaejax.core import game
from vaejax.core.sharding import make_mesh, tree_sharding
from vaejax.training.checkpoint import Checkpoints, CorruptCheckpointError
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
    return TrainState(jnp.int32(7), params, opt_state, average, jnp.int32(2))


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

    def failing_restore(self, step, args):
        raise Exception("Encountered error while reading array index: 0\nand much more")

    monkeypatch.setattr("orbax.checkpoint.CheckpointManager.restore", failing_restore)
    message = r"checkpoint 7 in .* cannot be read \(Encountered [^\n]*\); delete its folder"
    with pytest.raises(CorruptCheckpointError, match=message):
        restore(folder, shapes_of(state))


def test_an_array_that_differs_from_its_checksum(folder):
    state = random_state()
    save(folder, state, 6)
    save(folder, state, 7)
    file = folder / "7" / "checksums" / "metadata"
    sums = json.loads(file.read_text())
    assert len(sums) == len(jax.tree.leaves(state))
    sums["params/codebook"] ^= 1
    file.write_text(json.dumps(sums))
    message = r"checkpoint 7 .* 1 arrays .* params/codebook.* folder '7' .* earlier one \[6\]"
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
