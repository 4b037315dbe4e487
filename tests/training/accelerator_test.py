"""The programs traced for accelerators, run on CPU: they train alike."""

import jax
import numpy as np
import pytest

from tests.training.conftest import SHAPE
from vaejax import families
from vaejax.core.sharding import make_mesh
from vaejax.optimizers.build import players
from vaejax.sweeps import Sweep, product
from vaejax.training import Settings, Trainer, fit

STEPS = Settings(steps=5, batch_size=8, steps_per_dispatch=3, checkpoint_every=0)
DENSE = {"kind": "mlp", "hidden": (8,)}
RESIDUAL = {"kind": "residual", "hidden": 8, "block_hidden": 4, "blocks": 1}


def trainer_of(data, network):
    return Trainer(make_of(network)({"rate": 1e-3}), data, STEPS, mesh=make_mesh(1))


def sweep_of(data, network):
    grid = product({"rate": (1e-3, 3e-3)}, (0,))
    return Sweep(make_of(network), grid, data, STEPS, mesh=make_mesh(1), chunk=2)


def make_of(network):
    def make(values):
        table = {"vae": {"minimizes": {"nll": 1.0, "kl": 1.0}, "learning_rate": values["rate"]}}
        return families.beta_vae(SHAPE, players(table), latent_dim=2, network=network)

    return make


def program_of(trainer):
    per_model = (trainer._per_model,) if isinstance(trainer, Sweep) else ()
    batches = next(trainer.loader.batches([(0, 3)]))[1]
    args = (trainer.state_shape, *per_model, trainer.loader.data, batches, np.int32(3))
    return str(trainer.run.trace(*args).jaxpr)


@pytest.mark.parametrize("build", [trainer_of, pytest.param(sweep_of, marks=pytest.mark.slow)])
def test_programs_for_accelerators_train_alike(build, source, monkeypatch):
    """They have loops of fixed length, here 3 and 2, and no branches."""
    expected = fit(build(source(), DENSE), STEPS).state
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    trainer = build(source(), DENSE)
    program = program_of(trainer)
    assert " cond[" not in program
    assert "while[" not in program  # a loop of unknown length
    assert "length=3" in program
    state = fit(trainer, STEPS).state
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("build", "convolves"), [(trainer_of, True), (sweep_of, False)])
def test_convolutions_with_mapped_kernels_become_products(build, convolves, source, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert ("conv_general" in program_of(build(source(), RESIDUAL))) == convolves
