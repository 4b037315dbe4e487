"""Which samples of a learned prior stand where on the sheet, and what stands beside them."""

from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaejax.core.game import Family, Model, Trace
from vaejax.core.sharding import make_mesh
from vaejax.data.readers.npz import from_arrays
from vaejax.distributions import Point
from vaejax.quantizers.token_layout import CodeMap, Layout
from vaejax.training.two_stage import FirstStage
from vaejax.visualization.learned_prior import class_rows, draw_priors
from vaejax.visualization.plots import grids_and_curves

SHAPE = (4, 4, 1)
CLASSES = 3
LAYOUT = Layout((CodeMap((2, 2), (), 5),))
SOURCE = from_arrays(
    {"image": np.zeros((6, *SHAPE), np.uint8), "label": np.arange(6) % CLASSES}, holdout=0.0
)


def model(conditional):
    """Images as bright as their class, or as the temperature where there is none."""

    def forward(params, batch, key, step):
        label = jax.nn.one_hot(batch["label"], CLASSES) if conditional else None
        return Trace(batch["image"], Point(batch["image"]), (), condition=label)

    def generate(params, key, n, condition=None, temperature=1.0, *, top_k=0):
        bright = condition["label"] / CLASSES if conditional else jnp.full(n, 0.1 * temperature)
        return Point(jnp.broadcast_to(bright.reshape(-1, 1, 1, 1), (n, *SHAPE)) + 0.001 * top_k)

    return Family(Model(None, forward, None, None, generate), None, {})


def drawn(tmp_path, conditional, layout, count):
    first = FirstStage(model(False), {}, layout, make_mesh(1), 6, "none")
    with mock.patch.object(grids_and_curves, "save_grid") as save:
        draw_priors(
            first,
            model(conditional),
            {"first": {}, "second": {}},
            SOURCE,
            tmp_path,
            seed=0,
            count=count,
            temperature=0.5,
            top_k=7,
        )
    return {call.args[0].name: (*call.args[1:], call.kwargs) for call in save.call_args_list}


def test_a_row_of_samples_for_each_class(tmp_path):
    files = drawn(tmp_path, True, LAYOUT, count=200)  # more than are drawn at once
    images, columns, options = files["samples.png"]
    assert (columns, images.shape) == (67, (201, *SHAPE))
    want = np.repeat(np.arange(CLASSES) / CLASSES, 67) + 0.007
    np.testing.assert_allclose(images[:, 0, 0, 0], want, rtol=1e-5)
    assert options["row_labels"] == ["0", "1", "2"]
    assert "temperature 0.5, top-k 7" in options["title"]
    own, columns, options = files["samples_uniform.png"]
    assert (len(own), columns, "row_labels" in options) == (201, 67, False)
    np.testing.assert_allclose(own, 0.1, rtol=1e-5)  # at temperature 1, with no settings


@pytest.mark.parametrize("layout", [LAYOUT, None])
def test_without_classes_a_square(tmp_path, layout):
    files = drawn(tmp_path, False, layout, count=9)
    assert set(files) == {
        "samples.png",
        "samples_uniform.png" if layout else "samples_own_prior.png",
    }
    images, columns, _ = files["samples.png"]
    assert (columns, len(images)) == (3, 9)
    np.testing.assert_allclose(images, 0.057, rtol=1e-5)


def test_at_least_as_many_samples_as_wanted():
    for count in (1, 3, 4, 100):
        label, columns = class_rows(CLASSES, count)
        assert len(label) == CLASSES * columns >= count
        assert len(label) - CLASSES < count or columns == 1
        np.testing.assert_array_equal(label.reshape(CLASSES, columns).min(1), range(CLASSES))
        np.testing.assert_array_equal(label.reshape(CLASSES, columns).max(1), range(CLASSES))
