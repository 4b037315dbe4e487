"""Augmentation against NumPy and SciPy with the same random numbers, and its keys."""

import functools

import jax
import numpy as np
import pytest
import scipy.ndimage

from vaejax.core.sharding import batch_sharding, make_mesh
from vaejax.data.augment import Augmentation, augmenter, draw
from vaejax.data.preprocess import preparation
from vaejax.data.readers.npz import from_arrays

N = 6
RANDOM = np.random.RandomState(0)
IMAGES = RANDOM.randint(0, 256, (N, 9, 7, 3)).astype(np.uint8)
CLIPS = RANDOM.randint(0, 256, (N, 3, 9, 7, 1)).astype(np.uint8)
WAVES = RANDOM.randn(N, 20, 2).astype(np.float32)
KEY = jax.random.key(5)
SETTINGS = {
    "flip": Augmentation(flip="both"),
    "horizontal": Augmentation(flip="horizontal"),
    "shift": Augmentation(shift=3),
    "crop": Augmentation(crop=0.4),
    "brightness": Augmentation(brightness=0.3),
    "noise": Augmentation(noise=0.2),
    "all": Augmentation("vertical", 0.7, 2, 0.1, 0.05),
}


def source_of(**arrays):
    return from_arrays(arrays, holdout=0)


def augmented(augment, source, key=KEY):
    prepare = jax.jit(preparation(source, augment=augment))
    return jax.device_get(prepare(source.take(np.arange(source.size)), key))


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def all_draws(augment, shape, axes):
    """Of every example, from the key of the step: those of augmentation are number 2."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.fold_in(KEY, 2), np.arange(N))
    return jax.vmap(lambda key: draw(augment, key, shape, axes))(keys)


def draws_of(augment, shape, axes):
    stacked = jax.device_get(all_draws(augment, shape, axes))
    return [
        jax.tree.map(lambda a, i=i: a[i].astype(np.float64), stacked)
        for i in range(len(stacked.side))
    ]


def enlarged(plane, side, place):
    """A part of `[n, m]` at the size of the whole, by SciPy."""
    grids = [
        np.clip((np.arange(n) + 0.5) * side + p * (1 - side) * n - 0.5, 0, n - 1)
        for n, p in zip(plane.shape, place, strict=True)
    ]
    return scipy.ndimage.map_coordinates(plane, np.meshgrid(*grids, indexing="ij"), order=1)


def shifted(plane, shift):
    """Moved by `shift`, the border repeated."""
    pads = [(max(s, 0), max(-s, 0)) for s in shift]
    padded = np.pad(plane, pads, mode="edge")
    starts = [max(-s, 0) for s in shift]
    return padded[tuple(slice(b, b + n) for b, n in zip(starts, plane.shape, strict=True))]


def moved(plane, augment, draws):
    """One plane `[H, W]`, or one channel `[T]`, in float64."""
    for axis, mirrored in enumerate(draws.mirrored):
        if mirrored:
            plane = np.flip(plane, axis)
    if augment.crop < 1:
        plane = enlarged(plane, float(draws.side), draws.place)
    return shifted(plane, [int(s) for s in draws.shift])


def reference_image(image, augment, draws):
    """The augmented image `[H, W, C]`, stored as bytes."""
    planes = [moved(image[..., c] / 255, augment, draws) for c in range(image.shape[-1])]
    values = np.stack(planes, axis=-1) + draws.brightness
    if augment.noise:
        values = values + augment.noise * draws.noise
    return np.rint(np.clip(values, 0, 1) * 255)


@pytest.mark.parametrize("name", SETTINGS)
def test_images_equal_numpy(name):
    augment = SETTINGS[name]
    actual = augmented(augment, source_of(image=IMAGES))["image"]
    draws = draws_of(augment, IMAGES.shape[1:], 2)
    expected = [reference_image(x, augment, d) for x, d in zip(IMAGES, draws, strict=True)]
    levels = actual.astype(np.float64) * 255
    np.testing.assert_allclose(levels, np.rint(levels), atol=1e-4)  # values that bytes have
    difference = np.abs(levels - np.stack(expected))
    assert difference.max() < 1.001  # of float32, where the exact value is half a level
    assert (difference > 0.5).mean() < 0.002
    assert (actual != IMAGES / np.float32(255)).any()


def test_frames_of_a_sequence_are_moved_alike():
    augment = Augmentation("both", 0.6, 2)
    actual = augmented(augment, source_of(sequence=CLIPS))["sequence"]
    draws = draws_of(augment, CLIPS.shape[1:], 2)
    for clip, stored, numbers in zip(actual, CLIPS, draws, strict=True):
        for frame, stored_frame in zip(clip, stored, strict=True):
            expected = reference_image(stored_frame, augment, numbers)
            assert np.abs(frame * 255.0 - expected).max() < 1.001


def test_signals_are_shifted_in_time_and_get_noise():
    augment = Augmentation(shift=5, noise=0.3)
    actual = augmented(augment, source_of(signal=WAVES))["signal"]
    draws = draws_of(augment, WAVES.shape[1:], 1)
    assert len({int(d.shift[0]) for d in draws}) > 2
    for signal, stored, numbers in zip(actual, WAVES, draws, strict=True):
        channels = [shifted(stored[:, c], [int(numbers.shift[0])]) for c in range(2)]
        expected = np.stack(channels, axis=-1) + 0.3 * numbers.noise
        np.testing.assert_allclose(signal, expected, atol=1e-5)


def test_conditions_that_are_images_are_moved_with_the_images():
    source = source_of(image=IMAGES[..., :1], condition=IMAGES[..., :1])
    batch = augmented(Augmentation("both", 0.8, 2), source)
    np.testing.assert_allclose(batch["condition"], batch["image"], atol=0.51 / 255)
    assert (batch["image"] != IMAGES[..., :1] / np.float32(255)).any()


def test_every_example_has_a_key_of_its_own_and_every_value_occurs():
    same = source_of(image=np.repeat(IMAGES[:1], 64, axis=0), label=np.arange(64) % 2)
    batch = augmented(Augmentation(flip="horizontal"), same)
    stored = np.rint(batch["image"] * 255)
    flipped = (stored == IMAGES[0][:, ::-1]).all(axis=(1, 2, 3))
    kept = (stored == IMAGES[0]).all(axis=(1, 2, 3))
    assert (flipped ^ kept).all()
    assert 16 <= flipped.sum() <= 48  # 4 standard deviations
    np.testing.assert_array_equal(batch["label"], np.arange(64) % 2)
    shifts = np.array([d.shift for d in draws_of(Augmentation(shift=1), (9, 7, 3), 2)])
    assert set(shifts.reshape(-1).astype(int)) == {-1, 0, 1}


def test_batches_are_functions_of_the_key_and_the_same_on_eight_devices():
    rows = np.repeat(IMAGES, 4, axis=0)
    source = source_of(image=rows)
    prepare = jax.jit(preparation(source, "dynamic", augment=SETTINGS["all"]))
    first, other = (prepare({"image": rows}, jax.random.key(k))["image"] for k in (1, 2))
    spread = jax.device_put({"image": rows}, batch_sharding(make_mesh(8)))
    np.testing.assert_array_equal(prepare(spread, jax.random.key(1))["image"], first)
    assert (np.asarray(first) != np.asarray(other)).any()
    assert set(np.unique(first)) == {0.0, 1.0}  # binarised after augmentation


def test_off_is_the_identity():
    source = source_of(image=IMAGES)
    plain = jax.jit(preparation(source))(source.take(np.arange(N)), KEY)["image"]
    np.testing.assert_array_equal(augmented(Augmentation(), source)["image"], plain)


REFUSED = {
    "vectors": (Augmentation(noise=0.1), {"vector": np.eye(4)}, "noise=0.1 is for images and sig"),
    "tokens": (Augmentation(shift=1), {"tokens": np.eye(4, dtype=int)}, "holds tokens"),
    "flipped signals": (Augmentation(flip="both"), {"signal": WAVES}, "flip=both is for images"),
    "dark signals": (Augmentation(brightness=0.1), {"signal": WAVES}, "leave it at 0.0"),
    "shift": (Augmentation(shift=7), {"image": IMAGES}, r"less than the images .* 9 × 7"),
    "condition": (
        Augmentation(flip="both"),
        {"image": IMAGES, "condition": IMAGES[:, :4, :, :1]},
        "differ in size",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_data_cannot_have_is_refused(case):
    augment, arrays, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        augmenter(augment, source_of(**arrays))


@pytest.mark.parametrize("wrong", [{"flip": "left"}, {"crop": 0.0}, {"shift": -1}, {"noise": -1.0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=f"data.augment.{next(iter(wrong))} must be"):
        Augmentation(**wrong)
