"""Trained runs as `EncodecModel` of transformers."""

import math

import numpy as np

from vaejax.core.game import Params
from vaejax.core.types import Json
from vaejax.interop.encodec import ENCODEC, frame_rate, num_quantizers
from vaejax.interop.formats import Format
from vaejax.interop.run_parts import TrainedRun, network_options, plain_params, settings

__all__ = ["sound_checkpoint"]

# What an EncodecModel cannot have otherwise.
_FIXED = {"activation": "elu", "norm": "none", "tanh": False}


def sound_checkpoint(
    run: TrainedRun, sampling_rate: int = 0
) -> tuple[Format, dict[str, Json], Params]:
    """The format, config and parameters of a run on sounds.

    Args:
      run: with the network `codec` and a residual quantizer of codebooks.
      sampling_rate: in Hz; 0 for that of the run's config.

    Raises:
      ValueError: the model has no counterpart, or the sampling rate is unknown.
    """
    options, params = network_options(run), plain_params(run)
    for name, value in _FIXED.items():
        if options[name] != value:
            raise ValueError(f"EncodecModel has {name}={value!r} alone, found {options[name]!r}")
    if len(set(options["last_kernels"])) > 1 or not options["lstm"]:
        raise ValueError("EncodecModel has last_kernels of the same size, and at least one LSTM")
    if options["decoder_filters"] not in (0, options["filters"]):
        raise ValueError("EncodecModel has as many decoder_filters as filters")
    codebook = _codebook(run)
    levels, size, dim = codebook.shape
    rate = sampling_rate or run.config.get("data", {}).get("sample_rate") or 0
    if not rate:
        raise ValueError("pass sampling_rate=, in Hz: the run's config has no data.sample_rate")
    config = {
        **ENCODEC.defaults,
        "sampling_rate": rate,
        "audio_channels": int(np.shape(params["decoder"]["conv_out"]["kernel"])[-1]),
        "hidden_size": dim,
        "codebook_dim": dim,
        "codebook_size": size,
        "num_filters": options["filters"],
        "num_residual_layers": options["blocks"],
        "upsampling_ratios": list(reversed(options["ratios"])),
        "kernel_size": options["kernel"],
        "last_kernel_size": options["last_kernels"][0],
        "residual_kernel_size": options["block_kernel"],
        "dilation_growth_rate": options["dilation_growth"],
        "compress": options["compress"],
        "use_conv_shortcut": options["shortcut"],
        "use_causal_conv": options["causal"],
        "pad_mode": options["padding"],
        "num_lstm_layers": options["lstm"],
    }
    config["target_bandwidths"] = _bandwidths(config, levels)
    return ENCODEC, config, {**params, "codebook": codebook}


def _codebook(run: TrainedRun) -> np.ndarray:
    """The codes of all levels, `[levels, codes, dim]`."""
    setting = settings(run.config["model"].get("quantizer", "vector"))
    inner = settings(setting.get("quantizer", "vector"))
    fits = (
        setting["kind"] == "residual"
        and inner["kind"] == "vector"
        and inner.get("distance", "euclidean") == "euclidean"
        and not setting.get("shared", False)
        and setting.get("shrink", 1.0) == 1.0
        and "projection" not in run.params
    )
    codebook = np.asarray(run.params["codebook"]) if fits else np.zeros((0, 0, 0), np.float32)
    if not fits or math.log2(codebook.shape[1]) % 1:
        raise ValueError(
            "EncodecModel has a residual quantizer of codebooks with Euclidean distances, of a "
            "power of 2 of codes each, without projection; this run's model differs"
        )
    return codebook


def _bandwidths(config: dict[str, Json], levels: int) -> list[float]:
    """The bandwidth, in kbit/s, of 1, 2, 4, ... and of all levels."""
    bits = frame_rate(config) * math.ceil(math.log2(config["codebook_size"]))
    counts = [*(2**i for i in range(levels.bit_length()) if 2**i < levels), levels]
    found = []
    for count in counts:
        bandwidth = count * bits / 1000
        if num_quantizers({**config, "target_bandwidths": [bandwidth]}) < count:
            bandwidth = math.nextafter(bandwidth, math.inf)  # it was rounded down
        found.append(bandwidth)
    return found
