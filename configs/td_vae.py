"""TD-VAE: beliefs about sequences, and jumps ahead.

  python -m vaejax.main --config=configs/td_vae.py[:SETTING] --workdir=runs/td_vae

sprites       (default) sprites that move and bounce, embedded; jumps of 1 to 4 steps
moving_mnist  digits of MNIST from TFDS that move left or right, one pixel a step (1806.03107,
              section 5.2); jumps of 1 to 4 steps
oscillator    a noisy harmonic oscillator of 200 steps (section 5.3); jumps of up to 120 steps
balls         bouncing balls

Each ends with predictions of the last quarter from the first three, as pictures and as figures:
`mse_ahead/h` step by step, `mse_jump/h` in one jump. To compare with, models of single steps:

one_step        the oscillator by a state-space model (1511.05121)
one_step_mnist  moving digits, likewise
"""

from ml_collections import ConfigDict

from vaejax.experiment.config_defaults import choose, defaults


def _train(config: ConfigDict, rate: float, steps: int) -> None:
    """Adam, its rate lowered to a hundredth."""
    config.train.steps = steps
    falls = {"kind": "cosine", "start": rate, "end": rate / 100, "steps": steps}
    config.players.vae = ConfigDict({"minimizes": {"nll": 1.0, "kl": 1.0}, "optimizer": "adam"})
    config.players.vae.learning_rate = ConfigDict(falls)


def sprites(config: ConfigDict) -> None:
    """Two layers of z, four pairs of times in each sequence."""
    config.data.source = "moving_sprites"
    config.model.latent_dims = (16, 16)
    config.model.belief = ConfigDict({"kind": "lstm", "size": 128})
    config.model.features = 128
    config.model.network = ConfigDict({"kind": "mlp", "hidden": (256, 256)})
    config.model.hidden = (128,)
    config.model.likelihood = ConfigDict({"kind": "bernoulli"})
    config.model.steps = ((1, 4),)
    config.model.pairs = 4
    config.model.know_steps = True
    _train(config, 1e-3, 4000)
    config.train.batch_size = 64
    config.train.eval_examples = 500


def moving_mnist(config: ConfigDict) -> None:
    """Digits at a threshold of one half."""
    sprites(config)
    config.data.source = "moving_mnist"
    config.data.binarize = "threshold"
    _train(config, 1e-3, 20_000)


def oscillator(config: ConfigDict) -> None:
    """δt is from 1 to 10 in four of five pairs, and up to 120 in the fifth.

    KL is warmed up: from the start at full weight the beliefs stay empty, since a single noisy
    observation pays for little of them. Even so z holds the present and not the phase at 5,000
    steps: jumps, from a whole belief, are expected far better than steps from z to z.
    """
    sprites(config)
    config.data.source = "oscillator"
    config.model.latent_dims = (8,)
    config.model.network = ConfigDict({"kind": "mlp", "hidden": (50,)})
    config.model.features = 50
    config.model.belief = ConfigDict({"kind": "lstm", "size": 50})
    config.model.hidden = (50, 50)
    config.model.likelihood = ConfigDict({"kind": "normal", "scale": "learned"})
    config.model.steps = ((1, 10, 0.8), (1, 120, 0.2))
    config.model.pairs = 20
    _train(config, 2e-3, 5000)
    warm_up = {"kind": "linear", "start": 0.05, "end": 1.0, "steps": 1500}
    config.players.vae = ConfigDict(
        {**config.players.vae, "minimizes": {"nll": 1.0, "kl": warm_up}}
    )


def balls(config: ConfigDict) -> None:
    """Bouncing balls."""
    sprites(config)
    config.data.source = "bouncing_balls"


def _one_step(config: ConfigDict) -> None:
    config.family = "state_space"
    for name in ("steps", "pairs", "know_steps"):
        del config.model[name]


def one_step(config: ConfigDict) -> None:
    """The oscillator's networks and steps of training."""
    oscillator(config)
    _one_step(config)


def one_step_mnist(config: ConfigDict) -> None:
    """The moving digits' networks and steps of training."""
    moving_mnist(config)
    _one_step(config)


SETTINGS = {
    "sprites": sprites,
    "moving_mnist": moving_mnist,
    "oscillator": oscillator,
    "balls": balls,
    "one_step": one_step,
    "one_step_mnist": one_step_mnist,
}


def get_config(setting: str = "sprites") -> ConfigDict:
    """The config of a setting."""
    config = defaults("td_vae")
    choose(SETTINGS, setting, "configs/td_vae.py")(config)
    return config
