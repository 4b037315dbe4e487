"""The program of the steps is compiled while the initial state is made, once."""

import jax
import pytest

from tests.compilations import compilations
from vaejax import families
from vaejax.core.sharding import make_mesh
from vaejax.optimizers.build import players
from vaejax.sweeps.grid import product
from vaejax.sweeps.sweep import Sweep
from vaejax.training import Settings, Trainer, fit

SETTINGS = Settings(steps=6, batch_size=8, steps_per_dispatch=4, checkpoint_every=0)
SHAPE = (8, 8, 1)


def trainer_of(kind, source):
    def family(values):
        table = {"vae": {"minimizes": {"nll": 1.0, "kl": 2.0}, "learning_rate": 1e-3, **values}}
        network = {"kind": "mlp", "hidden": (4,)}
        return families.beta_vae(SHAPE, players(table), latent_dim=2, network=network)

    images = source(streamed=kind == "streamed")
    if kind == "sweep":
        grid = product({"learning_rate": [1e-3, 1e-2]}, (3,))
        return Sweep(family, grid, images, SETTINGS, mesh=make_mesh(1))
    return Trainer(family({}), images, SETTINGS, mesh=make_mesh(8 if kind == "devices" else 1))


@pytest.mark.parametrize("kind", ["resident", "streamed", "devices", "sweep"])
def test_dispatches_use_the_program_that_was_compiled_ahead(kind, source):
    trainer = trainer_of(kind, source)
    trainer.compile()
    state = trainer.init()
    with compilations() as compiled:
        for span, batches in trainer.loader.batches([(0, 4), (4, 6)]):
            state, _ = trainer.dispatch(state, span, batches)
        jax.block_until_ready(state)
    assert not compiled


def test_a_training_compiles_its_step_once(source):
    trainer = trainer_of("resident", source)
    with compilations() as compiled:
        fit(trainer, SETTINGS)
    names = [about["fun_name"] for about in compiled]
    assert sum("run" in name for name in names) == 1, names


def test_an_error_of_the_step_is_raised_by_the_training(source, monkeypatch):
    def failing(*_):
        raise RuntimeError("no such step")

    trainer = trainer_of("resident", source)
    monkeypatch.setattr("vaejax.training.trainer.repeat_step", lambda *_: failing)
    with pytest.raises(RuntimeError, match="no such step"):
        fit(trainer, SETTINGS)
