"""FactorVAE.

  python -m vaejax.main --config=configs/factor_vae.py[:SETTING] --workdir=runs/factor_vae

sprites       (default) embedded sprites, γ = 35, short
sprites_full  all 737,280 sprites for the paper's 300,000 steps; for a GPU

The model is trained on the whole batch. The discriminator receives the z of the first half
unchanged, and those of the second half with their dimensions shuffled, so that a batch of 128
corresponds to the paper's two batches of 64.

Result: 24,000 steps of `sprites` on all sprites with a learning rate of the discriminator of 5e-4
take an hour of two CPU cores: ELBO −71.1, discriminator accuracy 0.57, FactorVAE score 0.59, DCI
0.11, MIG 0.05. In the traversals (`docs/figures/factor_vae_sprites_traversals.png`) one latent
encodes size, three encode orientation and shape, and four move the sprite along slanted axes and
rotate it; a run this short does not disentangle these.
"""

from ml_collections import ConfigDict

from vaejax.experiment.config_defaults import config_function


def sprites(config: ConfigDict) -> None:
    """The networks of 1811.12359; discriminator and γ of 1802.05983; fewer and larger steps."""
    config.model = {
        "latent_dim": 10,
        "network": {"kind": "conv"},
        "likelihood": "bernoulli",
        "discriminator": {"hidden": (1000,) * 6},
    }
    config.players.vae = {
        "minimizes": {"nll": 1.0, "kl": 1.0, "tc": 35.0},
        "optimizer": "adam",
        "learning_rate": 5e-4,
    }
    config.players.discriminator = {
        "minimizes": {"discriminator_loss": 1.0},
        "optimizer": "adam",
        "learning_rate": 1e-4,
        "b1": 0.5,
        "b2": 0.9,
    }
    config.train.batch_size = 64
    config.train.steps = 3000


def sprites_full(config: ConfigDict) -> None:
    """The protocol of 1811.12359 with the paper's two batches of 64."""
    sprites(config)
    config.data.source = "sprites"
    config.players.vae.learning_rate = 1e-4
    config.train.batch_size = 128
    config.train.steps = 300_000
    config.train.checkpoint_every = 50_000
    config.train.log_every = 1000


SETTINGS = {"sprites": sprites, "sprites_full": sprites_full}

get_config = config_function("factor_vae", SETTINGS)
