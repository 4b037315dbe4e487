"""Renderers of events of each kind."""

import jax.numpy as jnp
import numpy as np
import pytest

from vaejax.data.readers.npz import from_arrays
from vaejax.distributions import Categorical, Normal
from vaejax.distributions.point_estimate import point_estimate
from vaejax.visualization.event_renderers import event_renderer


def test_point_estimate_is_the_mean_or_the_most_likely_class():
    loc = jnp.arange(3.0)
    np.testing.assert_array_equal(point_estimate(Normal(loc, loc + 1)), loc)
    logits = jnp.array([[[0.0, 2.0, 1.0], [5.0, 2.0, 1.0]]])
    classes = point_estimate(Categorical(logits))
    assert classes.dtype == jnp.int32
    np.testing.assert_array_equal(classes, [[1, 0]])


@pytest.mark.parametrize(
    ("name", "shape", "suffix"),
    [
        ("image", (8, 8, 1), ".png"),
        ("image", (8, 8, 2), None),
        ("signal", (8, 1), ".png"),
        ("signal", (8, 2), ".png"),
        ("tokens", (8,), ".txt"),
        ("tokens", (8, 8), None),
        ("vector", (8,), None),
        ("sequence", (4, 8, 8, 1), ".png"),
        ("sequence", (4, 8, 8, 2), None),
    ],
)
def test_renderer_depends_on_the_kind_and_shape_of_events(name, shape, suffix):
    dtype = {"image": np.uint8, "sequence": np.uint8, "tokens": np.int32}.get(name, np.float32)
    renderer = event_renderer(from_arrays({name: np.zeros((4, *shape), dtype)}, holdout=0))
    assert (renderer and renderer.suffix) == suffix


def test_sequences_are_drawn_as_strips_and_animations(tmp_path):
    renderer = event_renderer(
        from_arrays({"sequence": np.zeros((4, 5, 8, 8, 1), np.uint8)}, holdout=0)
    )
    x = np.random.RandomState(0).rand(4, 5, 8, 8, 1)
    renderer.reconstructions(tmp_path / "reconstructions.png", x, x)
    renderer.samples(tmp_path / "samples.png", x, "Samples")
    names = {path.name: path.read_bytes()[:4] for path in tmp_path.iterdir()}
    assert names == {
        f"{name}{suffix}": start
        for name in ("reconstructions", "samples")
        for suffix, start in ((".png", b"\x89PNG"), (".gif", b"GIF8"))
    }


def text_of(names, x, reconstruction, tmp_path):
    arrays = {"tokens": np.arange(12).reshape(3, 4)}
    if names:
        arrays["token_names"] = np.array(list(names))
    renderer = event_renderer(from_arrays(arrays, holdout=0))
    renderer.reconstructions(tmp_path / "r.txt", np.array(x), np.array(reconstruction))
    renderer.samples(tmp_path / "s.txt", np.array(reconstruction), "Title")
    return (tmp_path / "r.txt").read_text(), (tmp_path / "s.txt").read_text()


def test_characters_are_joined_and_errors_marked(tmp_path):
    x, reconstruction = [[1, 2, 0, 3], [3, 3, 0, 4]], [[1, 2, 0, 3], [3, 2, 5, 4]]
    reconstructions, samples = text_of(" abcdefghijk", x, reconstruction, tmp_path)
    assert reconstructions == (
        "Reconstructions below the data; ^ marks 2 wrong of 8.\n"
        "\nab c\nab c\n"
        "\ncc d\ncbed\n ^^\n"
    )  # fmt: skip
    assert samples == "Title\n\nab c\ncbed\n"


def test_words_are_separated_by_spaces(tmp_path):
    names = ["the", "a", "king", "sea", *"bcdefghi"]
    reconstructions, samples = text_of(names, [[0, 2, 1]], [[0, 3, 2]], tmp_path)
    assert reconstructions.splitlines()[2:] == ["the king a", "the sea king", "    ^^^ ^^^^"]
    assert samples.splitlines()[2:] == ["the sea king"]


def test_tokens_without_names_are_shown_as_numbers(tmp_path):
    reconstructions, _ = text_of(None, [[0, 11, 2]], [[0, 10, 2]], tmp_path)
    assert reconstructions.splitlines()[2:] == ["0 11 2", "0 10 2", "  ^^"]
