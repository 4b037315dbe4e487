"""TD-VAE: belief states of sequences, and predictions over several time steps at once.

  python -m vaejax.main --config=configs/td_vae.py[:SETTING] --workdir=runs/td_vae

sprites       (default) sprites that move and bounce, embedded; δ from 1 to 4 steps
moving_mnist  digits of MNIST from TFDS that move left or right, one pixel a step (1806.03107,
              section 5.2); δ from 1 to 4 steps
oscillator    a noisy harmonic oscillator of 200 steps (section 5.3); δ up to 120 steps
balls         bouncing balls

Each run ends with predictions of the last quarter of held-out sequences from the first three, as
figures and as metrics: `mse_rollout/h` step by step, `mse_direct/h` in one transition. For
comparison, models with one transition per step:

one_step        the oscillator with a state-space model (1511.05121)
one_step_mnist  moving digits with a state-space model
"""

from ml_collections import ConfigDict

from vaejax.experiment.config_defaults import config_function


def _train(config: ConfigDict, rate: float, steps: int) -> None:
    """Adam, with a learning rate that decays to a hundredth."""
    config.train.steps = steps
    config.players.vae = {
        "minimizes": {"nll": 1.0, "kl": 1.0},
        "optimizer": "adam",
        "learning_rate": {"kind": "cosine", "start": rate, "end": rate / 100, "steps": steps},
    }


def sprites(config: ConfigDict) -> None:
    """Two layers of z, four pairs of times in each sequence."""
    config.data.source = "moving_sprites"
    config.model = {
        "latent_dims": (16, 16),
        "belief": {"kind": "lstm", "size": 128},
        "features": 128,
        "network": {"kind": "mlp", "hidden": (256, 256)},
        "hidden": (128,),
        "likelihood": {"kind": "bernoulli"},
        "steps": ((1, 4),),
        "num_pairs": 4,
        "condition_on_delta": True,
    }
    _train(config, 1e-3, 4000)
    config.train.batch_size = 64
    config.train.eval_examples = 500


def moving_mnist(config: ConfigDict) -> None:
    """Digits binarised at a threshold of one half."""
    sprites(config)
    config.data.source = "moving_mnist"
    config.data.binarize = "threshold"
    _train(config, 1e-3, 20_000)


def oscillator(config: ConfigDict) -> None:
    """δ is from 1 to 10 in four of five pairs, and up to 120 in the fifth.

    The KL is warmed up: with full weight from the start the belief states stay uninformative, since
    a single noisy observation gains little from them. Even so z encodes the current value but not
    the phase at 5,000 steps: direct transitions from a belief are far more accurate than
    step-by-step rollouts from z to z.
    """
    sprites(config)
    config.data.source = "oscillator"
    config.model.update({"latent_dims": (8,), "features": 50, "hidden": (50, 50), "num_pairs": 20})
    config.model.network = {"kind": "mlp", "hidden": (50,)}
    config.model.belief = {"kind": "lstm", "size": 50}
    config.model.likelihood = {"kind": "normal", "scale": "learned"}
    config.model.steps = ((1, 10, 0.8), (1, 120, 0.2))
    _train(config, 2e-3, 5000)
    del config.players.vae.minimizes.kl  # a field cannot change its type: it was a number
    config.players.vae.minimizes.kl = {"kind": "linear", "start": 0.05, "end": 1.0, "steps": 1500}


def balls(config: ConfigDict) -> None:
    """Bouncing balls."""
    sprites(config)
    config.data.source = "bouncing_balls"


def _one_step(config: ConfigDict) -> None:
    config.family = "state_space"
    for name in ("steps", "num_pairs", "condition_on_delta"):
        del config.model[name]


def one_step(config: ConfigDict) -> None:
    """The networks and number of training steps of `oscillator`."""
    oscillator(config)
    _one_step(config)


def one_step_mnist(config: ConfigDict) -> None:
    """The networks and number of training steps of `moving_mnist`."""
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

get_config = config_function("td_vae", SETTINGS)
