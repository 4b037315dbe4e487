"""VQ-VAE.

  python -m vaejax.main --config=configs/vqvae.py[:SETTING] --workdir=runs/vqvae

sprites        (default) embedded sprites
fashion_mnist  Fashion-MNIST from TFDS
fashion_mnist_bits  the same with a likelihood of 8-bit values, for bits per dimension
cifar10        CIFAR-10 from TFDS: the recipe of 1711.00937's authors, with revival of dead codes
rotation       fashion_mnist, rotation trick for the gradient (2410.06424)
cosine         fashion_mnist, 8-dimensional codes of unit length (2110.04627)
residual       fashion_mnist, four levels of 256 codes, quantizer dropout (2107.03312)
grouped        fashion_mnist, four groups of 64 codes
fsq            fashion_mnist, finite scalar quantisation (2309.15505), 4,375 codes
lfq            fashion_mnist, lookup-free quantisation (2310.05737), 4,096 codes
sim_vq         fashion_mnist, 4,096 fixed codes in a learned basis (2411.02038)
gumbel         fashion_mnist, Gumbel-softmax over 64 codes (1611.01144)
vqvae2         fashion_mnist, codes at two levels, 4 × 4 and 7 × 7 (1906.00446)
waveforms      synthetic audio clips, 512 samples in 64 codes
text           synthetic sentences, 64 characters in 8 codes

Result: `sprites` has a mean squared error of 0.0017 and uses all codes on the held-out sprites; the
prior has 66.0 nats, 1.49 bits per code (of 1,000 steps: 71.1 nats, 1.60 bits). Its samples are one
shape each: squares and ellipses are clear, hearts are not.

Result: after 600 of its 4,000 steps (32 s on a CPU core) `waveforms` has a mean squared error of
0.0021, a tenth of the variance. `text` reconstructs 90.5 % of the characters correctly, at 1.52
bits per character including the codes, of which 0.30 are the entropy (44 s on a CPU core).

Result: `cifar10` on 4,000 images of its training split, 400 of them held out
(--config.data.source=npz:PATH --config.train.steps=2000; 8 minutes on a shared CPU core). Mean
squared error divided by 0.0633, the variance of the training images, and perplexity of a batch:

               this run, held out   the published curve
  1,000 steps  0.084  369           0.105   72
  2,000 steps  0.074  364           0.081  154

All 512 codes are used: they are initialised at k-means centres, and dead codes are revived.

  python -m benchmarks.codebook_use

compares how many of 4,096 codes each learning rule of the codebook uses, see docs/results.md.
"""

from ml_collections import ConfigDict

from vaejax.experiment.config_defaults import config_function, second_stage_defaults


def sprites(config: ConfigDict) -> None:
    """Binary images; 8 × 8 codes of 128, and a prior over them."""
    _base(config)
    # Fewer codes, so that the empty background has fewer: a small prior learns them sooner.
    config.model.quantizer.codes = 128
    config.train.steps = 1000
    config.train.checkpoint_every = 500
    config.second_stage.family = "code_prior"
    config.sample.top_p = 0.9


def _prior(config: ConfigDict) -> None:
    """A transformer over the codes, trained if `second_stage.family` is `code_prior`."""
    config.sample.update({"top_k": 0, "top_p": 1.0})
    config.second_stage = second_stage_defaults()
    prior = config.second_stage
    prior.condition_dropout = 0.1
    prior.model = {"conditional": True}
    prior.model.network = {"kind": "transformer", "layers": 3, "width": 64, "heads": 4}
    rate = {"kind": "warmup_cosine", "peak": 4e-3, "warmup": 50, "steps": 1600, "end": 4e-5}
    prior.players.prior = {
        "minimizes": {"nll": 1.0},
        "optimizer": "adamw",
        "learning_rate": rate,
        "weight_decay": 0.01,
        "clip_norm": 100.0,
    }
    prior.train.batch_size = 32
    prior.train.steps = 1600
    prior.train.checkpoint_every = 800


def _base(config: ConfigDict) -> None:
    config.model = {
        "quantizer": {"kind": "vector", "codes": 512, "dim": 64},
        "likelihood": {"kind": "bernoulli"},
        "network": {"kind": "residual", "hidden": 64, "downsamplings": 3},
    }
    config.players.vae = {
        "minimizes": {"nll": 1.0, "vq": 0.25},
        "optimizer": "adam",
        "learning_rate": 1e-3,
    }
    config.players.codebook = {
        "minimizes": {"vq": 1.0},
        "optimizer": "ema_codebook",
        "decay": 0.99,
        "revive_below": 0.03,
    }
    config.train.batch_size = 32
    config.train.steps = 2000
    config.train.checkpoint_every = 1000
    _prior(config)


def fashion_mnist(config: ConfigDict) -> None:
    """7 × 7 codes of 512; the likelihood's variance is fixed near the final error."""
    _base(config)
    config.data.source = "tfds:fashion_mnist"
    config.model.likelihood = {"kind": "normal", "scale": 0.1}
    config.model.network = {"kind": "residual", "hidden": 64}
    config.train.batch_size = 64
    config.train.steps = 3000


def rotation(config: ConfigDict) -> None:
    """With the EMA codebook and revival of `fashion_mnist`."""
    fashion_mnist(config)
    config.model.quantizer.gradient = "rotation"


def cosine(config: ConfigDict) -> None:
    """Features of 64 dimensions are projected to 8 and onto the sphere."""
    fashion_mnist(config)
    config.model.width = 64
    config.model.quantizer.update({"dim": 8, "distance": "cosine"})


def residual(config: ConfigDict) -> None:
    """A quarter of the training examples keep only their first levels."""
    fashion_mnist(config)
    config.model.quantizer = {
        "kind": "residual",
        "levels": 4,
        "dropout": 0.25,
        "quantizer": {"kind": "vector", "codes": 256, "dim": 64},
    }


def grouped(config: ConfigDict) -> None:
    """64 dimensions in four groups of 16."""
    fashion_mnist(config)
    book = {"kind": "vector", "codes": 64, "dim": 16}
    config.model.quantizer = {"kind": "grouped", "groups": 4, "quantizer": book}


def fsq(config: ConfigDict) -> None:
    """No codebook, and no loss except nll."""
    fashion_mnist(config)
    config.model.quantizer = {"kind": "finite_scalar", "levels": (7, 5, 5, 5, 5)}
    config.players.vae.minimizes = {"nll": 1.0}
    del config.players.codebook


def lfq(config: ConfigDict) -> None:
    """No codebook; the losses favour certain tokens and uniform use of all codes."""
    fashion_mnist(config)
    config.model.quantizer = {"kind": "lookup_free", "bits": 12}
    config.model.entropies = {"temperature": 1.0}
    config.players.vae.minimizes.update({"token_entropy": 0.1, "usage_entropy": -0.1})
    del config.players.codebook


def sim_vq(config: ConfigDict) -> None:
    """The basis of the codes is trained by gradient descent."""
    fashion_mnist(config)
    config.model.quantizer = {"kind": "sim_vq", "codes": 4096, "dim": 64}
    config.players.codebook = {"minimizes": {"vq": 1.0}, "learning_rate": 1e-3}


def gumbel(config: ConfigDict) -> None:
    """The temperature is annealed; the KL of the codes is a loss."""
    fashion_mnist(config)
    config.model.quantizer = {
        "kind": "gumbel_softmax",
        "codes": 64,
        "dim": 64,
        "temperature": {"kind": "linear", "start": 1.0, "end": 0.3, "steps": 2000},
    }
    config.players.vae.minimizes = {"nll": 1.0, "kl": 1.0}
    config.players.codebook = {"minimizes": {"nll": 1.0}, "learning_rate": 1e-3}


def vqvae2(config: ConfigDict) -> None:
    """Encoder and decoder of the bottom level are conditional on the top level."""
    fashion_mnist(config)
    config.family = "vqvae2"
    config.model.network = {"hidden": 64}
    config.model.downsamplings = (2, 1)
    codebook = config.players.codebook
    del config.players.codebook
    for level in range(2):
        config.players[f"codebook_{level}"] = {**codebook, "node": level}


def fashion_mnist_bits(config: ConfigDict) -> None:
    """A discretised logistic per pixel; with `configs/prior.py`, bits per dimension of both."""
    fashion_mnist(config)
    config.model.likelihood = {"kind": "discretized_logistic"}


def cifar10(config: ConfigDict) -> None:
    """Batch 32, Adam 3e-4; the likelihood's variance is that of the training images."""
    fashion_mnist(config)
    config.data.source = "tfds:cifar10"
    config.model.likelihood.scale = 0.0633**0.5
    config.model.network.hidden = 128
    config.players.vae.learning_rate = 3e-4
    config.train.batch_size = 32
    config.train.steps = 10_000


def waveforms(config: ConfigDict) -> None:
    """Clips of 512 samples, eight per code."""
    _base(config)
    config.data.source = "synthetic:waveforms"
    config.model.likelihood = {"kind": "normal", "scale": 0.03}
    config.model.network = {"kind": "residual_1d", "hidden": 64, "downsamplings": 3}
    config.train.steps = 4000


def text(config: ConfigDict) -> None:
    """Pieces of 64 characters, eight per code; the data give the number of characters."""
    _base(config)
    config.data.source = "synthetic:text"
    config.model.likelihood = {"kind": "categorical"}
    config.model.network = {"kind": "residual_1d", "hidden": 128, "downsamplings": 3}
    config.train.steps = 3000


SETTINGS = {
    "sprites": sprites,
    "fashion_mnist": fashion_mnist,
    "fashion_mnist_bits": fashion_mnist_bits,
    "cifar10": cifar10,
    "rotation": rotation,
    "cosine": cosine,
    "residual": residual,
    "grouped": grouped,
    "fsq": fsq,
    "lfq": lfq,
    "sim_vq": sim_vq,
    "gumbel": gumbel,
    "vqvae2": vqvae2,
    "waveforms": waveforms,
    "text": text,
}

get_config = config_function("vqvae", SETTINGS)
