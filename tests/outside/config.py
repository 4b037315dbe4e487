"""Models and data made of parts that live outside of the library.

  export PYTHONPATH=tests/outside
  python -m vaejax.main --config=tests/outside/config.py[:SETTING] --workdir=runs/rings

rings  (default) a hyperspherical VAE with a Laplace likelihood
codes  a VQ-VAE with a binary spherical quantizer and the two entropies of lookup-free ones

The parts are modules; `imports` lists those that register something. They are imported by name, so
an installed package works too, without PYTHONPATH. The list is stored in the run's `config.json`,
and whatever opens the run imports them again. `imports` also takes paths of `.py` files.
"""

from ml_collections import ConfigDict

from vaejax.experiment import choose, defaults


def rings(config: ConfigDict) -> None:
    """Points on two spheres, for four factors."""
    config.family = "hyperspherical_vae"
    config.model = ConfigDict({"spheres": 2, "min_concentration": 1.0})
    config.model.network = ConfigDict({"kind": "mlp", "hidden": (64,)})
    config.model.likelihood = ConfigDict({"kind": "hyperbolic_secant", "scale": 0.05})
    config.players.vae = ConfigDict({"minimizes": {"nll": 1.0, "kl": 1.0}, "optimizer": "adam"})
    config.players.vae.learning_rate = 3e-3


def codes(config: ConfigDict) -> None:
    """A map of 4 × 4 codes of 6 bits."""
    config.family = "vqvae"
    config.model = ConfigDict({"width": 16, "entropies": {"temperature": 0.5}})
    config.model.quantizer = ConfigDict({"kind": "binary_spherical", "bits": 6})
    config.model.network = ConfigDict({"kind": "residual", "hidden": 16, "blocks": 1})
    config.model.likelihood = ConfigDict({"kind": "hyperbolic_secant", "scale": 0.05})
    config.players.vae = ConfigDict({"minimizes": {"nll": 1.0, "vq": 0.25}, "optimizer": "adam"})
    config.players.vae.minimizes.update({"token_entropy": 0.1, "usage_entropy": -0.1})
    config.players.vae.learning_rate = 3e-3


def get_config(setting: str = "rings") -> ConfigDict:
    """The config of a setting."""
    config = defaults("hyperspherical_vae")
    config.imports = (
        "hyperspherical_vae",
        "binary_spherical",
        "hyperbolic_secant",
        "rings",
        "nearest_class",
    )
    config.data.source = "rings:16"
    config.data.holdout = 0.1
    config.train.update({"batch_size": 32, "steps": 2000, "checkpoint_every": 1000})
    choose({"rings": rings, "codes": codes}, setting, "config.py")(config)
    return config
