"""`DacModel` of transformers: the parameters and options of its networks and codebooks."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.game import Params
from vaejax.core.types import Json, Options
from vaejax.interop.folders import Tensors
from vaejax.interop.formats import Format, fold_weight_norm
from vaejax.interop.layouts import Tensor, conv
from vaejax.networks.codec import Codec

__all__ = ["DAC", "codec_of"]

_UNITS = 3  # residual units of a level, with dilations 1, 3 and 9


def codec_of(config: Options, dtype: str = "float32") -> Codec:
    """The network that a config describes.

    Raises:
      ValueError: an option is not supported.
    """
    ratios = tuple(config["downsampling_ratios"])
    levels = 2 ** len(ratios)
    if tuple(reversed(config.get("upsampling_ratios") or ratios[::-1])) != ratios:
        raise ValueError(
            f"config.json has downsampling_ratios={list(ratios)}, but upsampling_ratios are not "
            "these in reverse order, which alone is supported"
        )
    if config["decoder_hidden_size"] % levels:
        raise ValueError(
            f"config.json has decoder_hidden_size={config['decoder_hidden_size']}, which must be a "
            f"multiple of {levels}"
        )
    return Codec(
        _hidden_size(config),
        1,
        filters=config["encoder_hidden_size"],
        decoder_filters=config["decoder_hidden_size"] // levels,
        ratios=ratios,
        kernel=7,
        last_kernels=(3, 7),
        blocks=_UNITS,
        block_kernel=7,
        dilation_growth=3,
        compress=1,
        shortcut=False,
        activation="snake",
        tanh=True,
        symmetric=True,
        dtype=dtype,
    )


def _hidden_size(config: Options) -> int:
    """Channels between the encoder and the decoder, which the config need not have."""
    levels = len(config["downsampling_ratios"])
    return config.get("hidden_size") or config["encoder_hidden_size"] * 2**levels


def _unit(path: str, name: str) -> list[Tensor]:
    tensors = []
    for i in range(2):
        alpha = Tensor(f"{path}/act_{i}/alpha", f"{name}.snake{i + 1}.alpha", "channels")
        tensors += [alpha, *conv(f"{path}/conv_{i}", f"{name}.conv{i + 1}", "conv1d")]
    return tensors


def _layout(config: Options) -> list[Tensor]:
    count, tensors = len(config["downsampling_ratios"]), []
    for half, side in (("encoder", "down"), ("decoder", "up")):
        tensors += conv(f"{half}/conv_in", f"{half}.conv1", "conv1d")
        for i in range(count):
            level = i if side == "down" else count - 1 - i
            path, name = f"{half}/{side}_{level}", f"{half}.block.{i}"
            for j in range(_UNITS):
                tensors += _unit(f"{path}_block_{j}", f"{name}.res_unit{j + 1}")
            tensors.append(Tensor(f"{path}_act/alpha", f"{name}.snake1.alpha", "channels"))
            kinds = ("conv1", "conv1d") if side == "down" else ("conv_t1", "transposed")
            tensors += conv(f"{path}_conv", f"{name}.{kinds[0]}", kinds[1])
        tensors.append(Tensor(f"{half}/act_out/alpha", f"{half}.snake1.alpha", "channels"))
        tensors += conv(f"{half}/conv_out", f"{half}.conv2", "conv1d")
    for i in range(config["n_codebooks"]):
        path, name = f"quantizers/{i}", f"quantizer.quantizers.{i}"
        tensors += conv(f"{path}/into", f"{name}.in_proj", "pointwise")
        tensors += conv(f"{path}/back", f"{name}.out_proj", "pointwise")
        tensors.append(Tensor(f"{path}/codebook", f"{name}.codebook.weight", "plain"))
    return tensors


def _shapes(config: Options) -> Params:
    codec = codec_of(config)
    size, dim, width = config["codebook_size"], config["codebook_dim"], codec.features

    def init(key: jax.Array) -> Params:
        quantizer = {
            "into": {"kernel": jnp.zeros((width, dim)), "bias": jnp.zeros(dim)},
            "back": {"kernel": jnp.zeros((dim, width)), "bias": jnp.zeros(width)},
            "codebook": jnp.zeros((size, dim)),
        }
        return {
            "encoder": codec.encoder(1).init(key),
            "decoder": codec.decoder(width).init(key),
            "quantizers": {str(i): quantizer for i in range(config["n_codebooks"])},
        }

    return jax.eval_shape(init, jax.random.key(0))


def _read(tensors: Tensors, config: Options) -> Tensors:
    """Checkpoints of before weight norms were removed have them."""
    del config
    return {name: np.asarray(tensor) for name, tensor in fold_weight_norm(tensors).items()}


_DEFAULTS: Mapping[str, Json] = {
    "model_type": "dac",
    "encoder_hidden_size": 64,
    "downsampling_ratios": [2, 4, 8, 8],
    "decoder_hidden_size": 1536,
    "n_codebooks": 9,
    "codebook_size": 1024,
    "codebook_dim": 8,
    "quantizer_dropout": 0.0,
    "commitment_loss_weight": 0.25,
    "codebook_loss_weight": 1.0,
    "sampling_rate": 16_000,
}
DAC = Format(
    "DacModel",
    "transformers",
    "model",
    _DEFAULTS,
    lambda config, dtype: codec_of(config, dtype).networks(),
    _layout,
    _read,
    shapes=_shapes,
)
