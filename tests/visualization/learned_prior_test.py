"""Figures of a learned prior: the order of samples, and those of the first stage."""

from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaejax.core.game import Family, Model, Trace
from vaejax.core.sharding import make_mesh
from vaejax.core.token_layout import CodeMap, Layout
from vaejax.data.readers.npz import from_arrays
from vaejax.distributions import Delta
from vaejax.evaluation import EvaluationContext
from vaejax.training.two_stage import FirstStage
from vaejax.visualization import plots
from vaejax.visualization.learned_prior import class_rows, draw_prior_samples

SHAPE = (4, 4, 1)
CLASSES = 3
LAYOUT = Layout((CodeMap((2, 2), (), 5),))
SOURCE = from_arrays(
    {"image": np.zeros((6, *SHAPE), np.uint8), "label": np.arange(6) % CLASSES}, holdout=0.0
)


def model(conditional):
    """Images whose brightness is the class, or the temperature of an unconditional model."""

    def forward(params, batch, key, step):
        label = jax.nn.one_hot(batch["label"], CLASSES) if conditional else None
        return Trace(batch["image"], Delta(batch["image"]), (), condition=label)

    def generate(params, key, n, condition=None, temperature=1.0, *, top_k=0):
        brightness = condition["label"] / CLASSES if conditional else jnp.full(n, 0.1 * temperature)
        return Delta(jnp.broadcast_to(brightness.reshape(-1, 1, 1, 1), (n, *SHAPE)) + 0.001 * top_k)

    return Family(Model(lambda key, batch: {}, forward, None, None, generate), None, {})


def grids(tmp_path, conditional, layout, count):
    first = FirstStage(model(False), {}, layout, make_mesh(1), 6, "none")
    with mock.patch.object(plots, "save_grid") as save:
        draw_prior_samples(
            first,
            EvaluationContext(model(conditional), {"first": {}, "second": {}}, SOURCE),
            tmp_path,
            count=count,
            temperature=0.5,
            top_k=7,
        )
    return {call.args[0].name: (*call.args[1:], call.kwargs) for call in save.call_args_list}


def test_one_row_of_samples_for_each_class(tmp_path):
    files = grids(tmp_path, True, LAYOUT, count=200)  # more than one batch
    images, columns, options = files["samples.png"]
    assert (columns, images.shape) == (67, (201, *SHAPE))
    want = np.repeat(np.arange(CLASSES) / CLASSES, 67) + 0.007
    np.testing.assert_allclose(images[:, 0, 0, 0], want, rtol=1e-5)
    assert options["row_labels"] == ["0", "1", "2"]
    assert "temperature 0.5, top-k 7" in options["title"]
    uniform, columns, options = files["samples_uniform.png"]
    assert (len(uniform), columns, "row_labels" in options) == (201, 67, False)
    np.testing.assert_allclose(uniform, 0.1, rtol=1e-5)  # at temperature 1, without settings


@pytest.mark.parametrize("layout", [LAYOUT, None])
def test_samples_without_classes_form_a_square(tmp_path, layout):
    files = grids(tmp_path, False, layout, count=9)
    assert set(files) == {
        "samples.png",
        "samples_uniform.png" if layout else "samples_own_prior.png",
    }
    images, columns, _ = files["samples.png"]
    assert (columns, len(images)) == (3, 9)
    np.testing.assert_allclose(images, 0.057, rtol=1e-5)


def test_class_rows_have_at_least_the_requested_samples():
    for count in (1, 3, 4, 100):
        label, columns = class_rows(CLASSES, count)
        assert len(label) == CLASSES * columns >= count
        assert len(label) - CLASSES < count or columns == 1
        np.testing.assert_array_equal(label.reshape(CLASSES, columns).min(1), range(CLASSES))
        np.testing.assert_array_equal(label.reshape(CLASSES, columns).max(1), range(CLASSES))
