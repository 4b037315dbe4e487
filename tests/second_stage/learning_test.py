"""Training of priors over codes: on several devices, and to the entropy of the data."""

import chex
import jax
import numpy as np
import optax
import pytest

from vaejax import families
from vaejax.core.sharding import make_mesh
from vaejax.data import load
from vaejax.data.synthetic.code_maps import code_map_entropy
from vaejax.evaluation.evaluate import evaluator
from vaejax.training import Settings, Trainer, fit

TRANSFORMER = {"kind": "transformer", "layers": 2, "width": 64, "heads": 2}
PIXEL_CNN = {"kind": "pixel_cnn", "layers": 2, "width": 16, "kernel": 3}


def code_prior(source, network, tx, **options):
    players = {"prior": ({"nll": 1.0}, tx)}
    shape, classes = (source.layout.length,), source.num_classes
    return families.code_prior(
        shape, players, layout=source.layout, network=network, classes=classes, **options
    )


@pytest.mark.parametrize(
    "network",
    [TRANSFORMER, pytest.param(PIXEL_CNN, marks=pytest.mark.slow)],
    ids=["transformer", "pixel_cnn"],
)
@pytest.mark.slow
def test_training_on_eight_devices_equals_one(network):
    source, settings = load("synthetic:codes"), Settings(steps=3, batch_size=16)
    family = code_prior(source, network, optax.adam(1e-3, eps=1e-4))
    states = []
    for mesh in (make_mesh(1), make_mesh(2, 4)):
        trainer = Trainer(family, source, settings, mesh=mesh, condition_dropout=0.2)
        states.append(jax.device_get(fit(trainer, settings).state.params))
    chex.assert_trees_all_close(*states, rtol=1e-3, atol=2e-5)
    first = jax.device_get(Trainer(family, source, settings, mesh=make_mesh(1)).init().params)
    unchanged = jax.tree.map(np.array_equal, first, states[0])
    assert not any(jax.tree.leaves(unchanged)), unchanged


@pytest.mark.slow
@pytest.mark.parametrize("conditional", [True, False])
def test_the_loss_converges_to_the_entropy_of_the_codes(conditional):
    source, held_out = (load("synthetic:codes", split) for split in ("train", "eval"))
    settings = Settings(steps=1500, batch_size=64)
    tx = optax.adamw(optax.cosine_decay_schedule(3e-3, settings.steps))
    family = code_prior(source, TRANSFORMER, tx, conditional=conditional)
    mesh = make_mesh(1)
    trainer = Trainer(family, source, settings, mesh=mesh)
    params = fit(trainer, settings).state.params
    nll = evaluator(family, held_out, mesh, batch_size=100)(params, settings.steps)["nll"]
    # Without the class, which three codes determine, the entropy is log 3 larger.
    entropy = code_map_entropy() + (0.0 if conditional else np.log(3))
    assert entropy - 1.2 < nll < entropy + 1.5, (nll, entropy)
