"""Codecs of sound: residual quantisation, with discriminators and balanced losses.

  python -m vaejax.main --config=configs/codec.py[:SETTING] --workdir=runs/codec

trains on synthetic speech, half a second at 8 kHz; on your own recordings with

      --config.data.source=wav:PATH --config.data.sample_rate=16000 --config.data.length=8192
      --config.model.spectral.rate=16000

and configs/prior.py with --config.first_stage=runs/codec learns a prior over the codes.

speech  (default) a discriminator of spectrograms, as in EnCodec (2210.13438)
hifi    discriminators of periods and scales of the waveform, as in HiFi-GAN (2010.05646)
plain   no discriminator: absolute, spectral and mel errors alone
causal  a causal SEANet (2009.02095), which encodes and decodes a stream

There are 125 codes a second at each of 8 levels of 256 codes: 1 to 8 kbit/s. Half of the training
examples keep only their first levels (quantizer dropout), so the bitrate is chosen when decoding:

  codes = run.encode(sound)  # [N, 64, 8]; run = vaejax.load_run("runs/codec")
  codes[..., 2:] = -1  # the first two levels, 2 kbit/s
  sound = run.decode(codes)

The evaluation has `si_sdr/q` and `bits_per_second/q` of the first q levels. See
docs/first_stages.md for what the numbers mean.
"""

from ml_collections import ConfigDict

from vaejax.experiment.config_defaults import config_function

_START = 500  # step from which the discriminator is used


def plain(config: ConfigDict) -> None:
    """The encoder and the quantizer of all settings; shares of the gradient as in EnCodec."""
    config.data.source = "synthetic:speech"
    config.model = {
        "quantizer": {
            "kind": "residual",
            "levels": 8,
            "dropout": 0.5,
            "quantizer": {"kind": "vector", "codes": 256, "dim": 32},
        },
        "network": {"kind": "residual_1d", "hidden": 64, "downsamplings": 6},
        "likelihood": {"kind": "laplace", "scale": 0.1},
        "spectral": {"sizes": (512, 128, 32), "bands": 32, "rate": 8000.0},
        "balanced": {"nll": 1.0, "stft": 1.0, "mel": 1.0},
    }
    config.players.vae = {
        "minimizes": {"balanced": 1.0, "vq": 1e-3},
        "optimizer": "adam",
        "learning_rate": {"kind": "warmup_cosine", "peak": 2e-3, "warmup": 100, "steps": 1500},
        "clip_norm": 10.0,
    }
    config.players.codebook = {
        "minimizes": {"vq": 1.0},
        "optimizer": "ema_codebook",
        "decay": 0.99,
        "revive_below": 0.03,
    }
    config.train.batch_size = 16
    config.train.steps = 1500
    config.train.checkpoint_every = 500
    config.train.ema_decay = 0.99
    config.evaluate.metrics = "si_sdr,bitrate"


def speech(config: ConfigDict) -> None:
    """The discriminator starts late; its hidden layers are compared too."""
    plain(config)
    config.model.discriminator = {"kind": "stft", "sizes": (256, 128), "channels": 8}
    _adversarial(config)


def hifi(config: ConfigDict) -> None:
    """Five periods and three scales."""
    plain(config)
    config.model.discriminator = {"kind": "waveform", "channels": 8}
    _adversarial(config)


def causal(config: ConfigDict) -> None:
    """The same rate of codes: strides of 2, 4 and 8."""
    speech(config)
    del config.model.network
    ratios = (2, 4, 8)
    config.model.network = {"kind": "codec", "filters": 16, "ratios": ratios, "causal": True}


def _adversarial(config: ConfigDict) -> None:
    config.model.adversarial = {"objective": "hinge", "feature_matching": True}
    late = {"kind": "delayed", "value": 1.0, "begin": _START}
    config.model.balanced.update({"generator": late, "feature_matching": late})
    config.players.discriminator = {
        "minimizes": {"gan": late},
        "optimizer": "adam",
        "learning_rate": 5e-4,
        "b1": 0.5,
        "b2": 0.9,
    }


SETTINGS = {"speech": speech, "hifi": hifi, "plain": plain, "causal": causal}

get_config = config_function("codec", SETTINGS, family="vqvae")
