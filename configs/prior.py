"""Priors over the latents of a trained model.

  python -m vaejax.main --config=configs/prior.py[:SETTING] --config.first_stage=runs/vqvae
      --workdir=runs/prior

With `--mode=sample --config.sample.top_p=0.9` in addition, the same command samples from the two
models together. The data are those of the run in `first_stage`, encoded once; the prior is
conditional on the class if they have classes. Without `first_stage` each setting learns from small
synthetic data.

Result: over `configs/vqvae.py:fashion_mnist` (49 codes of 512) the transformer takes 7 minutes on
one core and reaches 138.3 nats, 4.07 bits per code, where uniform codes have 9; with top_p=0.9 its
samples are recognisable clothes (docs/figures/prior_fashion_mnist.png). Over `fashion_mnist_bits`
it takes 8 minutes and reaches 130.1 nats; both models together have 3.46 bits per dimension, where
uniform codes give 3.79.

transformer  (default) a causal transformer over the codes of a VQ-VAE with any number of levels
pixel_cnn    a gated PixelCNN (1606.05328) over one map of codes
mixture      Gaussians of full covariance over the latent vector or map of a VAE
"""

from ml_collections import ConfigDict

from vaejax.experiment.config_defaults import config_function


def _second_stage(config: ConfigDict) -> None:
    config.first_stage = ""  # the workdir of a trained run
    config.first_stage_step = 0  # its checkpoint; 0: the latest


def transformer(config: ConfigDict) -> None:
    """A million weights; one training example in ten has no class."""
    _second_stage(config)
    config.data.source = "synthetic:codes"
    config.data.condition_dropout = 0.1
    config.model = {"conditional": True}
    config.model.network = {"kind": "transformer", "layers": 4, "width": 128, "heads": 4}
    rate = {"kind": "warmup_cosine", "peak": 2e-3, "warmup": 100, "steps": 2000, "end": 2e-5}
    config.players.prior = {
        "minimizes": {"nll": 1.0},
        "optimizer": "adamw",
        "learning_rate": rate,
        "weight_decay": 0.01,
        "clip_norm": 100.0,
    }
    config.train.batch_size = 64
    config.train.steps = 2000
    config.train.checkpoint_every = 500
    config.train.ema_decay = 0.99
    config.sample.update({"count": 100, "top_k": 0, "top_p": 1.0})


def pixel_cnn(config: ConfigDict) -> None:
    """Six gated layers of 64 channels."""
    transformer(config)
    config.model.network = {"kind": "pixel_cnn", "layers": 6, "width": 64, "kernel": 5}
    config.players.prior.learning_rate.peak = 1e-3


def mixture(config: ConfigDict) -> None:
    """Initialised from the k-means clusters of the first batch, which is therefore large."""
    _second_stage(config)
    config.family = "gaussian_mixture"
    config.data.source = "synthetic:factors"
    config.model.components = 32
    config.players.prior = {"minimizes": {"nll": 1.0}, "optimizer": "adam", "learning_rate": 1e-2}
    config.train.batch_size = 1024
    config.train.steps = 1000
    config.sample.count = 100


SETTINGS = {"transformer": transformer, "pixel_cnn": pixel_cnn, "mixture": mixture}

get_config = config_function("prior", SETTINGS, family="code_prior")
