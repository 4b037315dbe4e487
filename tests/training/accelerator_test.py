"""What is traced for accelerators, run on CPU: other programs, the same training."""

import jax
import numpy as np
import pytest

from tests.training.conftest import SHAPE
from vaejax import families
from vaejax.training import Settings, Sweep, Trainer, fit, product
from vaejax.training.optimizers import players
from vaejax.training.sharding import make_mesh

STEPS = Settings(steps=9, batch_size=8, steps_per_dispatch=6, checkpoint_every=0)


def make(values):
    network = {"kind": "residual", "hidden": 8, "block_hidden": 4, "blocks": 1}
    table = {"vae": {"minimizes": {"nll": 1.0, "kl": 1.0}, "learning_rate": values["rate"]}}
    return families.beta_vae(SHAPE, players(table), latent_dim=2, network=network)


def single(data):
    return Trainer(make({"rate": 1e-3}), data, STEPS, mesh=make_mesh(1))


def sweep(data):
    return Sweep(
        make, product({"rate": (1e-3, 3e-3)}, (0,)), data, STEPS, mesh=make_mesh(1), chunk=2
    )


@pytest.mark.parametrize(("start", "convolves"), [(single, True), (sweep, False)])
def test_programs_of_accelerators_train_alike(start, convolves, source, monkeypatch):
    """Loops of fixed length, here 6 and 3; no branch; no convolution where kernels are mapped."""
    want = fit(start(source()), STEPS).state
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    trainer = start(source())
    own = (trainer._own,) if start is sweep else ()
    chunk = next(trainer.feed.chunks([(0, 6)]))[1]
    args = (trainer.init(), *own, trainer.feed.data, chunk, np.int32(6))
    program = str(trainer.run.trace(*args).jaxpr)
    assert " cond[" not in program
    assert "while[" not in program  # a loop of unknown length
    assert "length=6" in program
    assert ("conv_general_dilated" in program) == convolves
    got = fit(trainer, STEPS).state
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5, rtol=0)
