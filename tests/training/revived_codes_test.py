"""Far more codes than tokens, most of them dead: four devices against one."""

import itertools

import jax
import numpy as np
import pytest

from configs import vqvae
from vaejax.core.sharding import make_mesh
from vaejax.data import from_arrays
from vaejax.data.preprocess import dataset_info, event_shape
from vaejax.experiment.build import build, training_settings
from vaejax.training import Trainer

STEPS = 6


def run(trainer):
    """The metrics of the steps, and the codebook after each."""
    state, metrics, codebooks = trainer.init(), [], []
    for span, batches in trainer.loader.batches([(i, i + 1) for i in range(STEPS)]):
        state, values = trainer.dispatch(state, span, batches)
        metrics.append({name: float(value) for name, value in values.items()})
        codebooks.append(np.asarray(state.params["codebook"]))
    return metrics, codebooks


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_four_devices_revive_the_codes_of_one():
    """Codes revived at one token would be equal up to rounding, and so would their distances."""
    config = vqvae.get_config().to_dict()
    config["model"]["quantizer"] |= {"codes": 512, "dim": 4}
    config["model"]["network"] |= {"hidden": 8, "downsamplings": 2}
    config["players"]["codebook"] |= {"decay": 0.5, "revive_below": 0.9}
    config["train"] |= {"batch_size": 8, "steps": STEPS, "steps_per_dispatch": 1, "log_every": 1}
    source = from_arrays(np.random.RandomState(0).rand(40, 8, 8, 1) < 0.5, holdout=0.4)
    settings, _ = training_settings(config)
    family = build(config, event_shape(source), dataset_info(source))
    results = []
    for devices in (1, 4):
        mesh = make_mesh(devices)
        results.append(run(Trainer(family, source, settings, mesh=mesh, binarize="dynamic")))
    (expected, codebooks), (found, others) = results
    moved = [np.abs(a - b).max(axis=1) > 1e-3 for a, b in itertools.pairwise(codebooks)]
    assert max(map(np.count_nonzero, moved)) > 32  # more than there are tokens, so some are revived
    for step in range(STEPS):
        np.testing.assert_allclose(others[step], codebooks[step], rtol=1e-5, atol=1e-5)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
            found[step],
            expected[step],
        )
