"""Moving images against `np.roll`, rendered sprites, and a simulation in single-pixel steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaejax import data
from vaejax.data.load_options import LoadOptions
from vaejax.data.readers import tfds
from vaejax.data.source import decode_rows, in_memory
from vaejax.data.synthetic import moving_images, sprites


def decoded(source, indices):
    return jax.device_get(jax.jit(source.decode)(source.take(np.asarray(indices))))


@pytest.fixture
def digits(monkeypatch):
    """Replaces the prepared dataset by random images [6, 7, 1]; the calls of its loader."""
    calls = []

    def load(dataset, options):
        calls.append((dataset, options))
        rng = np.random.default_rng(options.split == "eval")
        images = rng.integers(0, 256, (40, 6, 7, 1), dtype=np.uint8)
        rows = {"image": images, "label": np.arange(40, dtype=np.int32) % 10}
        return in_memory(
            rows,
            np.arange(40),
            max_resident_bytes=options.max_resident_bytes,
            name=options.source,
            split=options.split,
            decode=decode_rows,
            num_classes=10,
        )

    monkeypatch.setattr(moving_images, "load_tfds", load)
    return calls


@pytest.mark.parametrize("settings", ["", ":length=9,directions=8,speeds=2", ":directions=4"])
def test_every_frame_is_the_rolled_image(digits, settings):
    source = data.load(f"moving_mnist{settings}")
    rows, batch = source.take(np.arange(40)), decoded(source, np.arange(40))
    length = 9 if "length" in settings else 20
    assert batch["sequence"].shape == (40, length, 6, 7, 1)
    assert batch["sequence"].dtype == np.float32
    assert source.factor_names == ("x", "y", "direction", "speed")
    np.testing.assert_array_equal(batch["label"], np.arange(40) % 10)
    assert (batch["factors"] < source.factor_sizes).all()
    assert batch["factors"].dtype == np.int32
    for image, frames, (x, y, direction, speed) in zip(
        rows["image"], batch["sequence"], batch["factors"], strict=True
    ):
        down, right = moving_images.STEPS[direction]
        for t, frame in enumerate(frames):
            shift = (y + down * (speed + 1) * t, x + right * (speed + 1) * t)
            expected = np.roll(image, shift, axis=(0, 1)) / np.float32(255)
            np.testing.assert_allclose(frame, expected, rtol=1e-6)


def test_by_default_digits_move_left_or_right_from_any_column(digits):
    source = data.load("moving_mnist")
    assert source.factor_sizes == (7, 1, 2, 1)
    x, y, direction, speed = source.arrays["motion"].T
    assert set(x) == set(range(7))
    assert set(direction) == {0, 1}
    assert not y.any()
    assert not speed.any()
    assert len(set(moving_images.STEPS)) == len(moving_images.STEPS) == 8
    assert moving_images.STEPS[:2] == ((0, -1), (0, 1))
    held_out = data.load("moving_mnist", "eval")
    assert not np.array_equal(held_out.arrays["motion"], source.arrays["motion"])
    assert digits[-1] == ("mnist", LoadOptions("tfds:mnist", "eval"))


def test_options_are_passed_to_the_dataset(digits):
    options = {"image_size": 28, "channels": 3, "data_dir": "there"}
    data.load("moving_mnist:dataset=some/config:1.0.0", **options)
    assert digits == [("some/config:1.0.0", LoadOptions("tfds:some/config:1.0.0", **options))]


def test_streamed_sequences_equal_resident_sequences(digits):
    resident, streamed = data.load("moving_mnist"), data.load("moving_mnist", max_resident_bytes=99)
    assert streamed.arrays is None
    picks = np.array([3, 39, -1, 3])
    batch = decoded(streamed, picks)
    for field, value in decoded(resident, picks).items():
        np.testing.assert_array_equal(batch[field], value)
    for field, value in resident.take(picks).items():
        np.testing.assert_array_equal(resident.arrays[field][picks], value)


def test_mnist_digits_move_by_one_pixel_per_step():
    """If MNIST is prepared: the circular centre of mass moves at the known speed."""
    pytest.importorskip("tensorflow_datasets")
    try:
        source = data.load("moving_mnist", "eval")
    except (FileNotFoundError, ImportError) as error:
        pytest.skip(str(error))
    assert source.size == 10_000
    batch = decoded(source, np.arange(50))
    assert batch["sequence"].shape == (50, 20, 28, 28, 1)
    mass = batch["sequence"].sum(axis=(2, 4), dtype=np.float64)  # [N, T, W]
    angle = np.angle(mass @ np.exp(2j * np.pi * np.arange(28) / 28))
    moved = np.diff(np.unwrap(angle, axis=1), axis=1) * 28 / (2 * np.pi)
    expected = np.where(batch["factors"][:, 2:3] == 1, 1.0, -1.0) * np.ones(19)
    np.testing.assert_allclose(moved, expected, atol=1e-5)


def test_datasets_of_videos_are_rejected(monkeypatch):
    rows = {"sequence": np.zeros((2, 3, 4, 4, 1), np.uint8)}
    source = in_memory(rows, np.arange(2), name="v", split="train", decode=decode_rows)
    monkeypatch.setattr(moving_images, "load_tfds", lambda *a, **k: source)
    with pytest.raises(ValueError, match="needs a dataset of images, tfds:mnist has"):
        data.load("moving_mnist")


def test_moving_images_uses_the_tfds_loader():
    assert moving_images.load_tfds is tfds.load_tfds


@pytest.mark.parametrize("speed", [1, 2, 5, -1, -3])
def test_bouncing_reverses_at_both_ends(speed):
    """Against a simulation in steps of one pixel."""
    expected = []
    x, direction = 3, 1 if speed > 0 else -1
    for t in range(30 * abs(speed) + 1):
        if t % abs(speed) == 0:
            expected.append(x)
        if x + direction not in range(8):
            direction = -direction
        x += direction
    start, velocity, length = jnp.array([[3]]), jnp.array([[speed]]), len(expected)
    bounced = moving_images.positions(start, velocity, length, 7, "bounce")
    np.testing.assert_array_equal(bounced[0, :, 0], expected)
    wrapped = moving_images.positions(start, velocity, length, 7, "wrap")
    np.testing.assert_array_equal(wrapped[0, :, 0], [(3 + speed * t) % 7 for t in range(length)])


def test_full_size_sprites_equal_rendered_sprites_at_both_ends():
    """The ends of the motion are positions 0 and 31 of the rendered sprites, exactly."""
    source = data.load("moving_sprites:length=70", image_size=64)
    x, y, direction = source.arrays["factors"][:, 3:6].T
    index = np.flatnonzero((direction >= 4) & ((x == y) | (x + y == 30)))[:12]
    batch = decoded(source, index)
    compared = 0
    for frames, factors in zip(batch["sequence"], batch["factors"], strict=True):
        shape, scale, orientation, x, y, direction, _ = factors
        down, right = moving_images.STEPS[direction]
        places = [(reflected(x + 1 + right * t, 32), reflected(y + 1 + down * t, 32))
                  for t in range(70)]  # fmt: skip
        for t, place in enumerate(places):
            if {*place} <= {0, 32}:
                at = (31 * place[0] // 32, 31 * place[1] // 32)
                expected = sprites.render(np.array([[shape, scale + 1, 4 * orientation, *at]]))[0]
                np.testing.assert_array_equal(frames[t, ..., 0], expected)
                compared += 1
    assert compared > 10


def reflected(place, reach):
    while not 0 <= place <= reach:
        place = -place if place < 0 else 2 * reach - place
    return place


@pytest.mark.parametrize(("edge", "reach", "first"), [("bounce", 16, 1), ("wrap", 32, 0)])
def test_small_sprites_are_moved_averages(edge, reach, first):
    source = data.load(f"moving_sprites:edge={edge},speeds=2")
    batch = decoded(source, np.arange(60))
    assert batch["sequence"].shape == (60, 20, 32, 32, 1)
    assert set(np.unique(batch["sequence"])) == {0, 0.25, 0.5, 0.75, 1}
    assert source.factor_sizes == (3, 5, 10, *2 * [reach - first], 8, 2)
    for frames, factors in zip(batch["sequence"], batch["factors"], strict=True):
        shape, scale, orientation, x, y, direction, speed = factors
        corner = sprites.render(np.array([[shape, scale + 1, 4 * orientation, 0, 0]]))[0]
        small = corner.reshape(32, 2, 32, 2).mean(axis=(1, 3))
        for t in range(20):
            step = (speed + 1) * t * np.array(moving_images.STEPS[direction])
            place = np.array([y, x]) + first + step
            if edge == "bounce":
                place = [reflected(p, reach) for p in place]
            np.testing.assert_array_equal(frames[t, ..., 0], np.roll(small, place, (0, 1)))
        if edge == "bounce":  # the sprite is always entirely in the frame
            np.testing.assert_allclose(frames.sum(axis=(1, 2, 3)), small.sum(), rtol=1e-6)
            assert not frames[:, [0, -1]].any()
            assert not frames[:, :, [0, -1]].any()


@pytest.mark.parametrize("side", [16, 32, 64])
def test_every_pose_looks_different(side):
    poses = np.stack(np.meshgrid(range(3), range(1, 6), range(0, 40, 4), 0, 0), -1).reshape(-1, 5)
    every = 64 // side
    images = sprites.render(poses).reshape(-1, side, every, side, every).mean(axis=(2, 4))
    assert len({image.tobytes() for image in images}) == 150


def test_no_sequence_of_sprites_is_in_both_splits():
    sequences = [
        {frames.tobytes() for frames in decoded(source, np.arange(source.size))["sequence"]}
        for source in (data.load("moving_sprites:length=3", split) for split in ("train", "eval"))
    ]
    assert [len(of_split) for of_split in sequences] == [10_000, 1000]
    assert not sequences[0] & sequences[1]


def test_a_sequence_depends_only_on_its_index():
    source, again = data.load("moving_sprites"), data.load("moving_sprites")
    picks = np.array([17, 4, 17, 9999])
    together = decoded(source, picks)
    for k, pick in enumerate(picks):
        single = decoded(again, [pick])
        for field, value in together.items():
            np.testing.assert_array_equal(single[field][0], value[k])
    streamed = data.load("moving_sprites", max_resident_bytes=100)
    assert streamed.arrays is None
    np.testing.assert_array_equal(streamed.take(picks)["packed"], source.take(picks)["packed"])
    assert source.class_names == sprites.SHAPES
    np.testing.assert_array_equal(together["label"], together["factors"][:, 0])


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (
            "moving_sprites",
            {"image_size": 28},
            "can be 16, 32 or 64 pixels wide, found image_size=28",
        ),
        ("moving_sprites", {"channels": 3}, "has one channel"),
        ("moving_sprites:edge=stop", {}, "edge must be one of bounce, wrap, found 'stop'"),
        ("moving_sprites:directions=3", {}, "directions must be 2, 4 or 8"),
        ("moving_sprites:speeds=16", {}, r"speeds must be in \[1, 15\]"),
        ("moving_sprites:length=0", {}, "length must be at least 1"),
    ],
)
def test_invalid_settings_are_rejected(source, options, message):
    with pytest.raises(ValueError, match=message):
        data.load(source, **options)


def test_frames_can_be_16_pixels_wide():
    batch = decoded(data.load("moving_sprites:directions=2", "eval", image_size=16), np.arange(5))
    assert batch["sequence"].shape == (5, 20, 16, 16, 1)
    assert moving_images.moving_sprites(LoadOptions("s", "eval", 16)).size == 1000
