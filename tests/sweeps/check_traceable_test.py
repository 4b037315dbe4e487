"""Settings whose values can be traced in one program, and settings that cannot be swept."""

import importlib

import jax
import numpy as np
import pytest

from vaejax.core.sharding import make_mesh
from vaejax.data.preprocess import dataset_info, event_shape
from vaejax.data.readers.npz import from_arrays
from vaejax.experiment.build import build
from vaejax.optimizers.build import optimizer
from vaejax.sweeps import Sweep, product
from vaejax.sweeps.grid import substitute
from vaejax.training import Settings

MLP = {"kind": "mlp", "hidden": (8,)}
RAMP = {"kind": "linear", "start": 0.0, "end": 5.0, "steps": 100, "begin": 3}
DENSE = {"kind": "dense", "hidden": (8, 8), "latent_dims": (2, 2)}


def config_of(file, setting, changes):
    """The config of a file, with an MLP as its network."""
    config = importlib.import_module(f"configs.{file}").get_config(*setting).to_dict()
    return substitute(config, {"model.network": MLP, **changes})


# File, setting, changes; and the names of settings that can be swept together.
TRACEABLE = {
    "beta": (
        "beta_vae",
        ["sprites"],
        {"players.vae.clip_norm": 1.0, "players.vae.b1": 0.9, "players.vae.eps": 1e-8},
        "players.vae.minimizes.kl players.vae.minimizes.nll players.vae.learning_rate "
        "players.vae.clip_norm players.vae.b1 players.vae.eps",
    ),
    "schedules": (
        "beta_vae",
        ["sprites"],
        {
            "players.vae.minimizes.kl": {**RAMP, "kind": "cosine"},
            "players.vae.minimizes.nll": {"kind": "delayed", "value": 1.0, "begin": 5},
            "players.vae.learning_rate": {"kind": "warmup_cosine", "peak": 1.0, "warmup": 3}
            | {"steps": 9},
            "model.capacity": {"kind": "cyclical", "start": 0.0, "end": 1.0, "period": 10},
        },
        "players.vae.minimizes.kl.end players.vae.minimizes.kl.steps "
        "players.vae.minimizes.kl.begin players.vae.minimizes.nll.begin "
        "players.vae.learning_rate.peak players.vae.learning_rate.warmup "
        "players.vae.learning_rate.steps model.capacity.period model.capacity.end",
    ),
    "capacity": ("beta_vae", ["capacity"], {}, "model.capacity.end model.capacity.steps"),
    "free_bits": ("beta_vae", ["free_bits"], {}, "model.free_bits.nats"),
    "geco": ("beta_vae", ["geco"], {}, "model.target players.multiplier.learning_rate"),
    "sigma": ("beta_vae", ["sigma"], {}, "model.likelihood.scale"),
    "info": ("info_vae", [], {"model.mmd": {"bandwidth": 2.0}}, "model.mmd.bandwidth"),
    "factor": (
        "factor_vae",
        [],
        {"model.discriminator": {"hidden": (8,)}},
        "players.discriminator.b1",
    ),
    "sparse": ("sparse_vae", [], {"model.alpha": 0.1}, "model.alpha"),
    "ema": (
        "vqvae",
        [],
        {"model.quantizer": {"kind": "vector", "codes": 8, "dim": 4}},
        "players.codebook.decay players.codebook.revive_below players.vae.minimizes.vq",
    ),
    "residual": (
        "vqvae",
        ["residual"],
        {"model.quantizer.quantizer": {"kind": "vector", "codes": 8, "dim": 4}},
        "model.quantizer.dropout players.codebook.revive_below",
    ),
    "gumbel": ("vqvae", ["gumbel"], {}, "model.quantizer.temperature.end"),
    "ladder": (
        "hierarchical",
        [],
        {"model.network": DENSE, "model.free_bits": {"nats": 1.0}},
        "model.free_bits.nats players.vae.learning_rate",
    ),
}


@pytest.fixture(scope="module")
def source():
    pixels = np.random.RandomState(0).randint(0, 256, (40, 8, 8, 1)).astype(np.uint8)
    return from_arrays(pixels, holdout=0)


def sweep_of(source, config, over):
    def make(values):
        return build(substitute(config, values), event_shape(source), dataset_info(source))

    settings = Settings(batch_size=8, steps_per_dispatch=2)
    return Sweep(make, product(over, (0,)), source, settings, mesh=make_mesh(1))


@pytest.mark.parametrize("case", TRACEABLE)
def test_these_settings_can_be_swept(source, case):
    file, setting, changes, names = TRACEABLE[case]
    config = config_of(file, setting, changes)
    over = {}
    for i, name in enumerate(names.split()):
        whole = name.endswith((".steps", ".begin", ".warmup", ".period"))
        values = (2.0, 4.0) if whole else (0.25, 0.5)
        over[name] = values if i < 2 else values[1:]
    state = sweep_of(source, config, over).state_shape
    assert {leaf.shape[0] for leaf in jax.tree.leaves(state)} == {2 ** min(2, len(over))}


@pytest.mark.parametrize(
    ("file", "changes", "name", "values", "message"),
    [
        ("beta_vae", {}, "model.latent_dim", (2.0, 3.0), "cannot sweep over model.latent_dim"),
        ("iwae", {}, "model.samples", (2.0, 3.0), "cannot sweep over model.samples: it changes"),
        (
            "vqvae",
            {
                "model.quantizer": {"kind": "vector", "codes": 8, "dim": 4},
                "players.codebook": {"minimizes": {"vq": 1.0}, "revive_below": 0.1}
                | {"learning_rate": 1e-3},
            },
            "players.codebook.revive_below",
            (0.1, 0.0),
            "revive_below: .*at 0 the model or an optimizer has other arrays",
        ),
    ],
)
def test_settings_that_change_the_program_are_rejected(
    source, file, changes, name, values, message
):
    config = config_of(file, [], changes)
    player = "decoder" if file == "iwae" else "vae"
    over = {f"players.{player}.learning_rate": (1e-3, 2e-3)}  # this one can be swept
    with pytest.raises(ValueError, match=message):
        sweep_of(source, config, {**over, name: values})


def test_errors_unrelated_to_tracing_are_passed_on(source):
    config = config_of("beta_vae", [], {"model.likelihood": "bernouli"})
    with pytest.raises(ValueError, match="did you mean 'bernoulli'"):
        sweep_of(source, config, {"players.vae.learning_rate": (1e-3, 2e-3)})


def test_clip_norm_zero_can_be_swept_with_others():
    """A traced clip_norm of 0 means no clipping, as a Python 0 does."""
    gradient = {"a": np.float32([3.0, 4.0])}

    def update(bound):
        tx = optimizer("sgd", learning_rate=1.0, clip_norm=bound)
        return tx.update(gradient, tx.init(gradient))[0]["a"]

    updates = jax.vmap(update)(np.float32([0.0, 1.0, 10.0]))
    np.testing.assert_allclose(updates, [[-3, -4], [-0.6, -0.8], [-3, -4]], rtol=1e-6)
    for i, bound in enumerate((0.0, 1.0, 10.0)):
        np.testing.assert_allclose(update(bound), updates[i], rtol=1e-6)
