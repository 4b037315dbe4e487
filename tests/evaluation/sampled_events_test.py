"""Sampled events: of sequences continuations, of tables samples of p(x | z), in one place."""

import jax
import numpy as np
import pytest

from tests.families.sequential import td_vae
from vaejax import from_arrays
from vaejax.evaluation import EvaluationContext, sampled_events
from vaejax.families import beta_vae
from vaejax.optimizers.build import players

ROWS = np.random.RandomState(0).randn(12, 12).astype(np.float32)


def context_of(family, arrays):
    source = from_arrays(arrays, holdout=0)
    batch = source.decode(source.take(np.arange(4)))
    params = family.model.init(jax.random.key(0), batch)
    return EvaluationContext(family, params, source, batch_size=4)


@pytest.mark.slow
def test_continuations_of_a_sequence_model():
    """Of the frames of images, their rows."""
    images = np.random.RandomState(1).rand(12, 16, 16) > 0.5
    events = sampled_events(context_of(td_vae(), {"image": images}), 5)
    assert [*events] == ["image"]
    assert events["image"].shape[0] == 5
    assert np.isfinite(events["image"]).all()


def test_rows_and_means():
    """As many samples as asked for, in batches; the noise of p(x | z) for rows alone."""
    table = players({"vae": {"minimizes": {"nll": 1.0, "kl": 1.0}, "learning_rate": 1e-3}})
    family = beta_vae(
        (12,), table, latent_dim=2, network={"kind": "mlp", "hidden": (4,)},
        likelihood={"kind": "normal", "scale": 0.5},
    )  # fmt: skip
    context = context_of(family, {"vector": ROWS, "column_names": np.array([*"abcdefghijkl"])})
    events = sampled_events(context, 300, temperature=0.0)
    assert events["vector"].shape == (300, 12)
    assert events["column_names"].tolist() == [*"abcdefghijkl"]
    # At temperature 0 all z are equal, so that the rows differ by the noise alone.
    assert events["vector"].std(axis=0).mean() == pytest.approx(0.5, rel=0.05)
