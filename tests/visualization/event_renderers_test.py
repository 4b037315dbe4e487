"""Events of each kind, and how they are shown."""

import jax.numpy as jnp
import numpy as np
import pytest

from vaejax.data.readers.npz import from_arrays
from vaejax.distributions import Categorical, Normal
from vaejax.distributions.point_estimate import best_guess
from vaejax.visualization.event_renderers import showing


def test_the_best_guess_is_the_mean_or_the_likeliest_class():
    loc = jnp.arange(3.0)
    np.testing.assert_array_equal(best_guess(Normal(loc, loc + 1)), loc)
    logits = jnp.array([[[0.0, 2.0, 1.0], [5.0, 2.0, 1.0]]])
    guess = best_guess(Categorical(logits))
    assert guess.dtype == jnp.int32
    np.testing.assert_array_equal(guess, [[1, 0]])


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
def test_events_are_shown_by_their_kind(name, shape, suffix):
    dtype = {"image": np.uint8, "sequence": np.uint8, "tokens": np.int32}.get(name, np.float32)
    show = showing(from_arrays({name: np.zeros((4, *shape), dtype)}, holdout=0))
    assert (show and show.suffix) == suffix


def test_sequences_are_films_with_an_animation_beside(tmp_path):
    show = showing(from_arrays({"sequence": np.zeros((4, 5, 8, 8, 1), np.uint8)}, holdout=0))
    x = np.random.RandomState(0).rand(4, 5, 8, 8, 1)
    show.reconstructions(tmp_path / "reconstructions.png", x, x)
    show.samples(tmp_path / "samples.png", x, "Samples")
    names = {path.name: path.read_bytes()[:4] for path in tmp_path.iterdir()}
    assert names == {
        f"{name}{suffix}": start
        for name in ("reconstructions", "samples")
        for suffix, start in ((".png", b"\x89PNG"), (".gif", b"GIF8"))
    }


def text_of(names, x, guess, tmp_path):
    arrays = {"tokens": np.arange(12).reshape(3, 4)}
    if names:
        arrays["token_names"] = np.array(list(names))
    show = showing(from_arrays(arrays, holdout=0))
    show.reconstructions(tmp_path / "r.txt", np.array(x), np.array(guess))
    show.samples(tmp_path / "s.txt", np.array(guess), "Title")
    return (tmp_path / "r.txt").read_text(), (tmp_path / "s.txt").read_text()


def test_characters_stand_side_by_side_and_what_is_wrong_is_marked(tmp_path):
    x, guess = [[1, 2, 0, 3], [3, 3, 0, 4]], [[1, 2, 0, 3], [3, 2, 5, 4]]
    reconstructions, samples = text_of(" abcdefghijk", x, guess, tmp_path)
    assert reconstructions == (
        "Reconstructions below the data; ^ marks 2 wrong of 8.\n"
        "\nab c\nab c\n"
        "\ncc d\ncbed\n ^^\n"
    )  # fmt: skip
    assert samples == "Title\n\nab c\ncbed\n"


def test_words_stand_apart(tmp_path):
    names = ["the", "a", "king", "sea", *"bcdefghi"]
    reconstructions, samples = text_of(names, [[0, 2, 1]], [[0, 3, 2]], tmp_path)
    assert reconstructions.splitlines()[2:] == ["the king a", "the sea king", "    ^^^ ^^^^"]
    assert samples.splitlines()[2:] == ["the sea king"]


def test_tokens_without_names_are_numbers(tmp_path):
    reconstructions, _ = text_of(None, [[0, 11, 2]], [[0, 10, 2]], tmp_path)
    assert reconstructions.splitlines()[2:] == ["0 11 2", "0 10 2", "  ^^"]
