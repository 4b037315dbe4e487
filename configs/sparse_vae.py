"""Sparse VAE, in both meanings: sparse latents (default), or sparse decoding of tables.

  python -m vaejax.main --config=configs/sparse_vae.py[:SETTING] --workdir=runs/sparse_vae

sprites        (default) embedded sprites, variational sparse coding, α = 0.05 of 32 latents
mnist          MNIST from TFDS, binarised anew whenever an image is used, α = 0.05 of 64 latents
fashion_mnist  Fashion-MNIST from TFDS, prior of 20 pseudo-inputs chosen by a classifier
synthetic      sparse decoding of the seven columns of 2110.10804, two factors to be found
pbmc           sparse decoding of counts; give the data: --config.data.source=npz:PATH

Seen: 3,000 steps of `mnist` (`--config.train.steps=3000`) in 75 s on a busy machine: test ELBO
−138.2, `active_fraction` 0.10, the share of the 64 latents that is not zero. Ten vary; four of them
carry nearly all and turn one digit into another.

  python -m benchmarks.sparse_decoding --seeds 10

finds the support exactly from 10 of 10 seeds of data and model (the weakest true weight 0.49, the
strongest other 0.12), a minute or more each on two CPU cores (AMD EPYC) busy with other work;
`benchmarks/results/sparse_decoding.json`.

`pbmc` on 4,271 cells of 10x Genomics' PBMC4k and their 2,000 most variable genes, a tenth of the
cells held out: 3,000 steps take 4 minutes of processor time; ELBO −625.9, nll 616.8 nats a cell. Of
16 factors 7 stay in use, and 84 % of W is smaller than 0.05:
`docs/figures/sparse_decoder_pbmc_factors.png`. That file has no names of genes, so columns have
numbers there; names in an npz are shown. `sparsity` in the summary is that share of W; `selected`,
the share of W whose p* is above one half, says less: 0.0006, since at so small a θ the lasso takes
a weight of 1 for zero.
"""

from ml_collections import ConfigDict

from vaejax.experiment.config_defaults import choose, defaults


def sprites(config: ConfigDict) -> None:
    """The networks of 1811.12359; KL, sharpness and slabs are warmed up."""
    config.model = ConfigDict({"latent_dim": 32, "alpha": 0.05, "network": {"kind": "conv"}})
    config.model.likelihood = "bernoulli"
    config.model.prior = ConfigDict({"kind": "standard"})
    config.model.sharpness = ConfigDict(
        {"kind": "linear", "start": 50.0, "end": 200.0, "steps": 2000}
    )
    config.model.slab = ConfigDict({"kind": "linear", "start": 0.0, "end": 1.0, "steps": 500})
    config.players.vae = ConfigDict({"minimizes": {"nll": 1.0}, "optimizer": "adam"})
    config.players.vae.minimizes.kl = 1.0
    config.players.vae.learning_rate = 1e-3
    config.train.batch_size = 64
    config.train.steps = 3000


def mnist(config: ConfigDict) -> None:
    """A multilayer perceptron."""
    sprites(config)
    config.data.source = "tfds:mnist"
    config.data.binarize = "dynamic"
    config.model.latent_dim = 64
    config.model.network = ConfigDict({"kind": "mlp", "hidden": (400, 400)})
    config.train.batch_size = 128
    config.train.steps = 10_000
    config.train.checkpoint_every = 5000


def fashion_mnist(config: ConfigDict) -> None:
    """The prior of the paper, and its α = 0.01 on average."""
    mnist(config)
    config.data.source = "tfds:fashion_mnist"
    config.data.binarize = "none"
    config.model.alpha = 0.01
    config.model.prior = ConfigDict({"kind": "pseudo_inputs", "count": 20})
    config.players.vae.minimizes.spike = 1.0


def synthetic(config: ConfigDict) -> None:
    """The networks and optimizer of the authors' simulation, with smooth activations.

    What goes wrong without the rest. Columns 3 and 7 are even in z1: while the noise falls fast, a
    latent gets hold of either of them first and ends as |z1| or as z1 · sign z2, with which the
    other columns can live. So the noise starts at each column's own size and falls slowly: until
    then only what several columns share is worth a latent. The encoder sees raw columns, whose
    first posteriors may be far off: without clipping, one gradient of 1e5 keeps Adam from moving
    for thousands of steps. The lasso is far too strong for a while before it has its own weight,
    1 / N, so that factors do not stay mixed.
    """
    config.family = "sparse_decoder"
    config.data.source = "synthetic:factors"
    config.model = ConfigDict({"latent_dim": 5, "columns": {"kind": "normal"}})
    config.model.encoder = ConfigDict({"hidden": (50, 50), "activation": "silu"})
    config.model.decoder = ConfigDict({"hidden": (50, 50), "activation": "silu"})
    config.model.lasso = ConfigDict({"spike": 10.0, "slab": 1.0})
    config.players.vae = ConfigDict({"minimizes": {"nll": 1.0, "kl": 1.0, "ridge": 1.0}})
    config.players.selector = ConfigDict({"minimizes": {"nll": 1.0}})
    config.players.selector.minimizes.ssl = ConfigDict(
        {"kind": "warmup_cosine", "peak": 15.0, "warmup": 3000, "steps": 6000, "end": 1.0}
    )
    config.players.columns = ConfigDict({"minimizes": {"nll": 1.0}, "learning_rate": 5e-4})
    for player in (config.players.vae, config.players.selector):
        player.learning_rate = 1e-2
    for player in config.players.values():
        player.clip_norm = 10.0
    config.train.batch_size = 100
    config.train.steps = 7000
    config.train.steps_per_dispatch = 100


def pbmc(config: ConfigDict) -> None:
    """Counts: negative binomial, narrow decoder, more factors."""
    synthetic(config)
    config.data.source = "npz:PATH"
    config.model.latent_dim = 16
    config.model.columns.kind = "counts"
    config.model.encoder.hidden = (128, 128)
    config.model.decoder.hidden = (32,)
    config.players.selector.minimizes.ssl.update({"peak": 30.0, "warmup": 1000, "steps": 2000})
    config.players.vae.learning_rate = 3e-3
    config.players.columns.learning_rate = 1e-2
    config.train.batch_size = 64
    config.train.steps = 3000
    config.train.steps_per_dispatch = 20


def get_config(setting: str = "sprites") -> ConfigDict:
    """The config of a setting."""
    config = defaults("sparse_vae")
    settings = {
        "sprites": sprites,
        "mnist": mnist,
        "fashion_mnist": fashion_mnist,
        "synthetic": synthetic,
        "pbmc": pbmc,
    }
    choose(settings, setting, "configs/sparse_vae.py")(config)
    return config
