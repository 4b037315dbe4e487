"""PyTorch models of first stages, scaled down, with random parameters; see `benchmarks.interop`."""

from collections.abc import Mapping
from typing import Any

__all__ = ["MODELS", "make"]

_SD = {
    "block_out_channels": (16, 32, 32),
    "down_block_types": ("DownEncoderBlock2D",) * 3,
    "up_block_types": ("UpDecoderBlock2D",) * 3,
    "layers_per_block": 2,
    "norm_num_groups": 8,
}
_ENCODEC = {
    "num_filters": 8,
    "hidden_size": 16,
    "codebook_size": 64,
    "upsampling_ratios": [5, 4, 2],
    "sampling_rate": 4000,
    "target_bandwidths": [0.6, 1.2, 2.4],
}
# Name -> library, class, options: those of the real checkpoints, with fewer channels and levels.
MODELS: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "AutoencoderKL (SD 1, 2)": ("diffusers", "AutoencoderKL", _SD),
    "AutoencoderKL (SDXL)": ("diffusers", "AutoencoderKL", {**_SD, "scaling_factor": 0.13025}),
    "AutoencoderKL (SD 3, Flux)": (
        "diffusers",
        "AutoencoderKL",
        {
            **_SD,
            "latent_channels": 16,
            "scaling_factor": 0.3611,
            "shift_factor": 0.1159,
            "use_quant_conv": False,
            "use_post_quant_conv": False,
        },
    ),
    "VQModel": (
        "diffusers",
        "VQModel",
        {**_SD, "latent_channels": 3, "num_vq_embeddings": 64, "vq_embed_dim": 4},
    ),
    "VQModel (attention levels)": (
        "diffusers",
        "VQModel",
        {
            **_SD,
            "down_block_types": ("DownEncoderBlock2D",) * 2 + ("AttnDownEncoderBlock2D",),
            "up_block_types": ("AttnUpDecoderBlock2D",) + ("UpDecoderBlock2D",) * 2,
            "num_vq_embeddings": 64,
        },
    ),
    "AutoencoderTiny": (
        "diffusers",
        "AutoencoderTiny",
        {
            "encoder_block_out_channels": (16, 16, 16),
            "decoder_block_out_channels": (16, 16, 16),
            "num_encoder_blocks": (1, 2, 2),
            "num_decoder_blocks": (2, 2, 1),
        },
    ),
    "EncodecModel (24 kHz)": ("transformers", "EncodecModel", _ENCODEC),
    "EncodecModel (48 kHz)": (
        "transformers",
        "EncodecModel",
        {
            **_ENCODEC,
            "norm_type": "time_group_norm",
            "use_causal_conv": False,
            "audio_channels": 2,
            "normalize": True,
            "chunk_length_s": 0.1,
            "overlap": 0.1,
        },
    ),
    "DacModel": (
        "transformers",
        "DacModel",
        {
            "encoder_hidden_size": 8,
            "decoder_hidden_size": 96,
            "downsampling_ratios": [2, 4, 5],
            "n_codebooks": 4,
            "codebook_size": 64,
            "codebook_dim": 4,
        },
    ),
}


def make(name: str, seed: int = 0) -> Any:
    """PyTorch's module of a class, with random parameters of unit gain: every layer counts."""
    import importlib

    import torch

    library, class_name, options = MODELS[name]
    cls = getattr(importlib.import_module(library), class_name)
    if library == "transformers":
        config = getattr(importlib.import_module(library), class_name.replace("Model", "Config"))
        module = cls(config(**options))
    else:
        module = cls(**options)
    generator = torch.Generator().manual_seed(seed)
    # At unit gain, DAC's residual units would grow until its final tanh gives ±1 alone.
    gain = 0.5 if class_name == "DacModel" else 1.0
    with torch.no_grad():
        for path, tensor in module.state_dict().items():
            if not tensor.is_floating_point() or tensor.ndim == 0:
                continue
            noise = torch.randn(tensor.shape, generator=generator)
            if "alpha" in path or "original0" in path or (tensor.ndim == 1 and "weight" in path):
                tensor.copy_(1.0 + 0.2 * noise)
            elif tensor.ndim == 1:
                tensor.copy_(0.1 * noise)
            elif "embed" in path or "codebook" in path:
                tensor.copy_(noise)
            else:
                tensor.copy_(gain * noise / tensor[0].numel() ** 0.5)
    return module.eval()
