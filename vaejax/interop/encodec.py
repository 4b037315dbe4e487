"""`EncodecModel` of transformers: the parameters and options of its networks and codebooks."""

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from vaejax.core.game import Params
from vaejax.core.types import Json, Options
from vaejax.interop.folders import Tensors
from vaejax.interop.formats import Format, fold_weight_norm, refuse
from vaejax.interop.layouts import Tensor, conv, norm
from vaejax.networks.codec import Codec
from vaejax.networks.signal_convolutions import Conv, Layer, TransposedConv
from vaejax.networks.signal_layers import Activation, Lstm, Residual, Stack

__all__ = ["ENCODEC", "chunks_of", "codec_of", "frame_rate", "num_quantizers"]

_NORMS = {"weight_norm": "none", "time_group_norm": "time_group_norm"}
_LSTM = {"weight_ih": "input", "weight_hh": "recurrent", "bias": "bias"}


def codec_of(config: Options, dtype: str = "float32") -> Codec:
    """The network that a config describes.

    Raises:
      ValueError: an option is not supported.
    """
    refuse(config, "norm_type", *_NORMS)
    refuse(config, "pad_mode", "reflect", "constant")
    refuse(config, "trim_right_ratio", 1, 1.0)
    if config["codebook_dim"] not in (None, config["hidden_size"]):
        raise ValueError("config.json must have the same codebook_dim and hidden_size")
    return Codec(
        config["hidden_size"],
        config["audio_channels"],
        filters=config["num_filters"],
        ratios=tuple(reversed(config["upsampling_ratios"])),
        kernel=config["kernel_size"],
        last_kernels=(config["last_kernel_size"],) * 2,
        blocks=config["num_residual_layers"],
        block_kernel=config["residual_kernel_size"],
        dilation_growth=config["dilation_growth_rate"],
        compress=config["compress"],
        shortcut=config["use_conv_shortcut"],
        lstm=config["num_lstm_layers"],
        causal=config["use_causal_conv"],
        padding=config["pad_mode"],
        norm=_NORMS[config["norm_type"]],
        dtype=dtype,
    )


def frame_rate(config: Options) -> int:
    """Frames in a second, rounded up."""
    return math.ceil(config["sampling_rate"] / math.prod(config["upsampling_ratios"]))


def num_quantizers(config: Options, bandwidth: float | None = None) -> int:
    """The number of codebooks that a bandwidth in kbit/s allows; None for all of them."""
    bits = frame_rate(config) * math.ceil(math.log2(config["codebook_size"]))
    if bandwidth is None:
        return int(1000 * config["target_bandwidths"][-1] // bits)
    return max(1, math.floor(bandwidth * 1000 / bits))


def chunks_of(config: Options) -> tuple[int, int] | None:
    """The samples of a chunk and from one to the next; None if sounds are encoded as a whole."""
    if config["chunk_length_s"] is None:
        return None
    length = int(config["chunk_length_s"] * config["sampling_rate"])
    overlap = config["overlap"]
    return length, 1 if overlap is None else max(1, int((1.0 - overlap) * length))


def _layer(layer: Layer, path: str, name: str) -> list[Tensor]:
    """The parameters of a layer."""
    if isinstance(layer, Conv | TransposedConv):
        kind = "conv1d" if isinstance(layer, Conv) else "transposed"
        tensors = conv(path, f"{name}.conv", kind)
        if layer.norm == "none":
            return tensors
        return tensors + norm(path, f"{name}.norm", "shift")
    if isinstance(layer, Lstm):
        return [
            Tensor(
                f"{path}/layer_{i}/{own}",
                f"{name}.lstm.{theirs}_l{i}",
                "plain" if theirs == "bias" else "linear",
            )
            for i in range(layer.layers)
            for theirs, own in _LSTM.items()
        ]
    if isinstance(layer, Residual):
        tensors = []
        for i, (inner, part) in enumerate(layer.block.layers):
            tensors += _layer(part, f"{path}/{inner}", f"{name}.block.{i}")
        if layer.shortcut is not None:
            tensors += _layer(layer.shortcut, f"{path}/shortcut", f"{name}.shortcut")
        return tensors
    assert isinstance(layer, Activation)
    return []


def _layout(config: Options) -> list[Tensor]:
    codec, tensors = codec_of(config), []
    stacks: Mapping[str, Stack] = {
        "encoder": codec.encoder(config["audio_channels"]),
        "decoder": codec.decoder(config["hidden_size"]),
    }
    for half, stack in stacks.items():
        for i, (path, layer) in enumerate(stack.layers):
            tensors += _layer(layer, f"{half}/{path}", f"{half}.layers.{i}")
    return [*tensors, Tensor("codebook", "codebook", "plain")]


def _shapes(config: Options) -> Params:
    codec = codec_of(config)

    def init(key: jax.Array) -> Params:
        shape = (num_quantizers(config), config["codebook_size"], config["hidden_size"])
        return {
            "encoder": codec.encoder(config["audio_channels"]).init(key),
            "decoder": codec.decoder(config["hidden_size"]).init(key),
            "codebook": jnp.zeros(shape),
        }

    return jax.eval_shape(init, jax.random.key(0))


def _codebook(i: int, part: str = "embed") -> str:
    return f"quantizer.layers.{i}.codebook.{part}"


def _read(tensors: Tensors, config: Options) -> Tensors:
    """Folded weight norms, the two biases of an LSTM added, the codebooks as one array."""
    result: Tensors = {}
    levels = num_quantizers(config)
    for name, tensor in fold_weight_norm(tensors).items():
        if ".bias_ih_" in name or ".bias_hh_" in name:
            both = name.replace("bias_ih", "bias").replace("bias_hh", "bias")
            result[both] = result.get(both, np.zeros((), np.float32)) + tensor
        elif not name.startswith("quantizer."):
            result[name] = tensor
    missing = [_codebook(i) for i in range(levels) if _codebook(i) not in tensors]
    if missing:
        raise ValueError(f"the checkpoint has no tensor {missing[0]!r}: download all of its files")
    result["codebook"] = np.stack([tensors[_codebook(i)] for i in range(levels)])
    return result


def _write(tensors: Tensors, config: Options) -> Tensors:
    result: Tensors = {}
    for name, tensor in tensors.items():
        if name == "codebook":
            for i, codes in enumerate(tensor):
                result |= {_codebook(i): codes, _codebook(i, "embed_avg"): codes.copy()}
                result[_codebook(i, "cluster_size")] = np.ones(len(codes), np.float32)
                result[_codebook(i, "inited")] = np.ones(1, np.float32)
        elif ".lstm.bias_" in name:
            result[name.replace("bias", "bias_ih")] = tensor
            result[name.replace("bias", "bias_hh")] = np.zeros_like(tensor)
        elif name.endswith(".conv.weight") and config["norm_type"] == "weight_norm":
            base = f"{name.removesuffix('weight')}parametrizations.weight.original"
            length = np.sqrt(np.square(tensor.astype(np.float64)).sum(axis=(1, 2), keepdims=True))
            result |= {f"{base}0": length.astype(np.float32), f"{base}1": tensor}
        else:
            result[name] = tensor
    return result


_DEFAULTS: Mapping[str, Json] = {
    "model_type": "encodec",
    "target_bandwidths": [1.5, 3.0, 6.0, 12.0, 24.0],
    "sampling_rate": 24_000,
    "audio_channels": 1,
    "normalize": False,
    "chunk_length_s": None,
    "overlap": None,
    "hidden_size": 128,
    "num_filters": 32,
    "num_residual_layers": 1,
    "upsampling_ratios": [8, 5, 4, 2],
    "norm_type": "weight_norm",
    "kernel_size": 7,
    "last_kernel_size": 7,
    "residual_kernel_size": 3,
    "dilation_growth_rate": 2,
    "use_causal_conv": True,
    "pad_mode": "reflect",
    "compress": 2,
    "num_lstm_layers": 2,
    "trim_right_ratio": 1.0,
    "codebook_size": 1024,
    "codebook_dim": None,
    "use_conv_shortcut": True,
}
ENCODEC = Format(
    "EncodecModel",
    "transformers",
    "model",
    _DEFAULTS,
    lambda config, dtype: codec_of(config, dtype).networks(),
    _layout,
    _read,
    _write,
    _shapes,
)
