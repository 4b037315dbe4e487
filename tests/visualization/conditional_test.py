"""Figures of conditional models: the conditions that they show, and the files."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.evaluation.conditional_test import LABEL, MLP, PLAYERS, SHAPE, cvae, source
from tests.random_params import random_params
from vaejax import families
from vaejax.core import game
from vaejax.data.quadrants import with_quadrants
from vaejax.evaluation import EvaluationContext, condition_batch, is_conditional
from vaejax.visualization.conditional import draw_conditional, select_conditions


def test_selected_conditions_are_classes_or_examples():
    label = np.arange(40) % 3
    batch = {"image": np.zeros((40, 2, 2, 1)), "label": label}
    rows, classes = select_conditions(np.eye(3)[label], batch, 3)
    np.testing.assert_array_equal(classes, [0, 1, 2])
    np.testing.assert_array_equal(rows["label"], [0, 1, 2])
    assert len(rows["image"]) == 3
    _, classes = select_conditions(np.eye(100)[label], batch, 100)  # ten of the hundred
    np.testing.assert_array_equal(classes, np.linspace(0, 99, 10).round())
    rows, classes = select_conditions(
        np.eye(3)[(label + 1) % 3], batch, 3
    )  # not the class, but of its shape
    assert classes is None
    np.testing.assert_array_equal(rows["label"], label[np.linspace(0, 39, 10).astype(int)])


NAMES = {"conditional_samples.png", "vary_condition.png", "vary_latent.png"}


@pytest.mark.slow
def test_figures_of_class_conditional_and_of_inpainting_models(tmp_path):
    for name, data, options in [
        ("class", source(), {}),
        ("parts", with_quadrants(source(), 2), {"condition": "condition"}),
    ]:
        family, params = cvae(data, **options)
        (tmp_path / name).mkdir()
        context = EvaluationContext(family, params, data)
        draw_conditional(context, tmp_path / name)
        assert {p.name for p in (tmp_path / name).iterdir()} == NAMES
        assert is_conditional(family, data)
        conditions = condition_batch(context, 5)
        np.testing.assert_array_equal(conditions["label"], LABEL[[0, 5, 11, 16, 22]])
    family = families.beta_vae(SHAPE, PLAYERS, latent_dim=1, network=MLP)
    batch = {"image": jnp.zeros((2, *SHAPE))}
    params = random_params(functools.partial(game.init, family), jax.random.key(0), batch)
    (tmp_path / "none").mkdir()
    context = EvaluationContext(family, params, source())
    draw_conditional(context, tmp_path / "none")
    assert not list((tmp_path / "none").iterdir())
    assert not is_conditional(family, source())
    assert condition_batch(context, 5) is None
