"""Bouncing balls against conservation laws, time reversal, and integration in small steps."""

import jax
import numpy as np
import pytest

from vaejax import data
from vaejax.data.synthetic.bouncing_balls import initial_states, simulate


@pytest.fixture(scope="module")
def states():
    return simulate(*initial_states(300, 0, 4, 0.1, 0.08), 0.1, 60)


def test_energy_is_conserved_and_balls_do_not_overlap(states):
    assert states.shape == (300, 60, 4, 4)
    x, v = states[..., :2], states[..., 2:]
    energy = np.square(v).sum(axis=(2, 3))
    np.testing.assert_allclose(energy, 4 * 0.08**2, rtol=1e-10)
    assert x.min() > 0.1 - 1e-9
    assert x.max() < 0.9 + 1e-9
    for i in range(4):
        for j in range(i):
            distance = np.linalg.norm(x[:, :, i] - x[:, :, j], axis=-1)
            assert distance.min() > 0.2 - 1e-9
            assert (distance < 0.21).any()  # they do collide
    speeds = np.linalg.norm(v[:, -1], axis=-1)
    assert speeds.std() > 0.01  # collisions change the initially equal speeds


def test_reversed_velocities_reverse_the_motion():
    """Over few collisions, since each amplifies rounding errors."""
    x, v = initial_states(200, 1, 3, 0.12, 0.06)
    forward = simulate(x, v, 0.12, 16)
    backward = simulate(forward[:, -1, :, :2], -forward[:, -1, :, 2:], 0.12, 16)
    np.testing.assert_allclose(backward[:, ::-1, :, :2], forward[..., :2], atol=1e-6)
    np.testing.assert_allclose(-backward[:, -1, :, 2:], v, atol=1e-6)
    assert not np.allclose(forward[:, -1, :, 2:], v)
    fortran_order = simulate(np.asfortranarray(x), np.asfortranarray(v), 0.12, 16)
    np.testing.assert_array_equal(fortran_order, forward)


@pytest.mark.slow
def test_motion_agrees_with_integration_in_small_steps():
    """Discs with stiff springs, integrated in float64, of three seeds at once."""
    radius, stiff, parts, length = 0.15, 1e7, 20_000, 9
    pairs = [initial_states(8, seed, 2, radius, 0.1) for seed in range(3)]
    x, v = map(np.concatenate, zip(*pairs, strict=True))
    expected = [x]
    a, b = x.copy(), v.copy()
    for t in range(parts * (length - 1)):
        force = stiff * (np.maximum(radius - a, 0) - np.maximum(a - 1 + radius, 0))
        line = a[:, 0] - a[:, 1]
        distance = np.linalg.norm(line, axis=-1, keepdims=True)
        push = stiff * np.maximum(2 * radius - distance, 0) * line / distance
        force[:, 0] += push
        force[:, 1] -= push
        b += force / parts
        a += b / parts
        if (t + 1) % parts == 0:
            expected.append(a.copy())
    positions = simulate(x, v, radius, length)[..., :2]
    np.testing.assert_allclose(positions, np.stack(expected, axis=1), atol=5e-3)


def test_momentum_is_conserved_in_a_collision():
    """Two balls that meet head on exchange velocities; an oblique collision, computed by hand."""
    x = np.array([[[0.3, 0.5], [0.7, 0.5]], [[0.3, 0.5], [0.7, 0.5 + 0.1]]])
    v = np.array([[[0.1, 0.0], [-0.1, 0.0]], [[0.1, 0.0], [-0.1, 0.0]]])
    states = simulate(x, v, 0.1, 3)
    np.testing.assert_allclose(states[:, :, :, 2:].sum(axis=2), 0.0, atol=1e-15)
    np.testing.assert_allclose(states[0, 2, :, 2:], [[-0.1, 0], [0.1, 0]], atol=1e-15)
    # They touch at distance 0.2 with a vertical offset of 0.1: the line is (−√3, −1) / 2.
    line = np.array([-np.sqrt(3) / 2, -0.5])
    along = (np.array([0.2, 0.0]) @ line) * line
    np.testing.assert_allclose(states[1, 2, 0, 2:], np.array([0.1, 0]) - along, atol=1e-12)
    when = (0.4 - np.sqrt(0.03)) / 0.2
    touch = np.array([0.3 + 0.1 * when, 0.5])
    expected = touch + (2 - when) * (np.array([0.1, 0]) - along)
    np.testing.assert_allclose(states[1, 2, 0, :2], expected, atol=1e-12)


def test_a_single_ball_moves_in_triangle_waves():
    x, v = np.array([[[0.37, 0.52]]]), np.array([[[0.23, -0.41]]])
    positions = simulate(x, v, 0.1, 50)[0, :, 0, :2]
    free = (x[0] + v[0] * np.arange(50)[:, None] - 0.1) % 1.6
    np.testing.assert_allclose(positions, 0.1 + 0.8 - np.abs(0.8 - free), atol=1e-10)


def test_initial_states_do_not_overlap_and_have_equal_speeds():
    x, v = initial_states(1000, 3, 5, 0.1, 0.05)
    np.testing.assert_allclose(np.linalg.norm(v, axis=-1), 0.05)
    gaps = np.linalg.norm(x[:, :, None] - x[:, None], axis=-1) + np.eye(5)
    assert gaps.min() >= 0.2
    assert x.min() >= 0.1
    assert x.max() <= 0.9
    assert np.abs(v.mean(axis=(0, 1))).max() < 0.003  # any direction


def test_frames_show_the_balls_at_their_positions():
    source = data.load("bouncing_balls:balls=2,length=7", "eval")
    batch = jax.device_get(jax.jit(source.decode)(source.take(np.arange(40))))
    frames, truth = batch["sequence"], batch["truth"].reshape(40, 7, 2, 4)
    assert frames.shape == (40, 7, 32, 32, 1)
    assert frames.dtype == np.float32
    assert frames.min() == 0
    assert frames.max() == 1
    # Both discs are complete and equal, so the centre of mass is the mean of their centres.
    centres = (np.arange(32) + 0.5) / 32
    mass = frames[..., 0].sum(axis=(2, 3))
    np.testing.assert_allclose(mass / 32**2, 2 * np.pi * 0.12**2, rtol=0.02)
    across = (frames[..., 0].sum(axis=2) @ centres) / mass
    down = (frames[..., 0].sum(axis=3) @ centres) / mass
    np.testing.assert_allclose(across, truth[..., 0].mean(axis=2), atol=2e-3)
    np.testing.assert_allclose(down, truth[..., 1].mean(axis=2), atol=2e-3)
    # A pixel entirely inside a ball is white, a pixel entirely outside is black.
    y, x = np.meshgrid(centres, centres, indexing="ij")
    for n, t in ((0, 0), (5, 3), (39, 6)):
        distance = np.min([np.hypot(x - b[0], y - b[1]) for b in truth[n, t]], axis=0) * 32
        assert (frames[n, t, distance < 0.12 * 32 - 0.51, 0] == 1).all()
        assert (frames[n, t, distance > 0.12 * 32 + 0.51, 0] == 0).all()


def test_the_source_is_deterministic_and_its_splits_are_disjoint():
    train, held = (data.load("bouncing_balls", split) for split in ("train", "eval"))
    assert (train.size, held.size) == (10_000, 1000)
    assert train.take(np.array([0]))["truth"].shape == (1, 20, 12)
    again = data.load("bouncing_balls", "eval", max_resident_bytes=100)
    assert again.arrays is None
    picks = np.array([999, 0, 999, 5])
    np.testing.assert_array_equal(again.take(picks)["truth"], held.arrays["truth"][picks])
    train_states = {states.tobytes() for states in train.arrays["truth"]}
    assert len(train_states) == 10_000
    assert not train_states & {states.tobytes() for states in held.arrays["truth"]}
    wide = jax.eval_shape(
        data.load("bouncing_balls", "eval", image_size=48).decode, held.take(picks)
    )
    assert wide["sequence"].shape == (4, 20, 48, 48, 1)


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("bouncing_balls:balls=9", {}, "9 balls of radius 0.12 fill 41% of the box"),
        ("bouncing_balls:balls=0", {}, "balls must be in"),
        ("bouncing_balls:radius=0", {}, "radius must be in"),
        ("bouncing_balls:speed=-1", {}, "speed must be in"),
        ("bouncing_balls", {"channels": 3}, "has one channel"),
    ],
)
def test_invalid_settings_are_rejected(source, options, message):
    with pytest.raises(ValueError, match=message):
        data.load(source, **options)
