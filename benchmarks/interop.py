"""Compares models of this library with PyTorch's on checkpoints of random parameters.

  python -m benchmarks.interop

For every class that `vaejax.interop` reads and writes, at the shapes of real configs scaled down:
the largest and the root mean square difference of values and of gradients in the inputs, in
standard deviations of PyTorch's, in both directions (read here what PyTorch wrote, and the
reverse). Needs torch, diffusers and transformers. Writes `results/interop-<device>.json`.
"""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaejax import interop

from .machine import device_name, machine
from .paths import result_path, write_json

__all__ = ["MODELS", "compare", "main", "make"]

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


def _difference(ours: Any, theirs: Any) -> dict[str, float]:
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    error, scale = ours - theirs, theirs.std()
    return {
        "largest": float(np.abs(error).max() / scale),
        "rms": float(np.sqrt(np.mean(error**2)) / scale),
    }


def _channels_last(tensor: Any) -> np.ndarray:
    return np.moveaxis(tensor.detach().float().numpy(), 1, -1)


def _torch_gradient(function: Callable[[Any], Any], x: np.ndarray, dtype: Any) -> tuple[Any, Any]:
    """Value and gradient in x of the sum of squares over two; channels first inside."""
    import torch

    leaf = torch.tensor(np.moveaxis(x, -1, 1).copy(), dtype=dtype, requires_grad=True)
    y = function(leaf)
    (y.float().square().sum() / 2).backward()
    return _channels_last(y), _channels_last(leaf.grad)


def _jax_gradient(function: Callable[..., Any], params: Any, x: np.ndarray) -> tuple[Any, Any]:
    def loss(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        y = function(params, x)
        return jnp.sum(jnp.square(y)) / 2, y

    (_, y), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(jnp.asarray(x))
    return y, gradient


def _halves(module: Any, z_channels: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """PyTorch's encoder and decoder, without samples and codes."""
    name = type(module).__name__
    if name == "AutoencoderKL":
        encode = lambda x: module.encode(2 * x - 1).latent_dist.parameters  # noqa: E731
        return encode, lambda z: module.decode(z).sample / 2 + 0.5
    if name == "AutoencoderTiny":
        return (lambda x: module.encode(2 * x - 1).latents), (
            lambda z: module.decode(z).sample / 2 + 0.5
        )
    if name == "VQModel":
        return (lambda x: module.encode(2 * x - 1).latents), (
            lambda z: module.decode(z, force_not_quantize=True).sample / 2 + 0.5
        )
    return module.encoder, module.decoder  # of sound, on features before quantisation


def _inputs(model: Any) -> tuple[np.ndarray, np.ndarray]:
    """An event for the encoder, and a latent for the decoder."""
    rng = np.random.RandomState(0)
    if isinstance(model, interop.PictureModel):
        side = 4 * model.factor
        channels = model.config.get("vq_embed_dim") or model.config["latent_channels"]
        x = rng.rand(2, side, 2 * side, model.config["in_channels"])
        return x.astype(np.float32), rng.randn(2, 4, 8, channels).astype(np.float32)
    frames, hop = 12, model.codec.hop
    x = 0.5 * rng.randn(2, frames * hop, model.channels)
    return x.astype(np.float32), rng.randn(2, frames, model.codec.features).astype(np.float32)


def compare(name: str, dtype: str = "float32") -> dict[str, Any]:
    """Differences of a class in both directions, see the module.

    In bfloat16 the reference is PyTorch in float32, and `pytorch` holds what PyTorch's own
    computation in bfloat16 differs from it.
    """
    import torch

    module = make(name)
    with tempfile.TemporaryDirectory() as text:
        theirs, ours = Path(text, "theirs"), Path(text, "ours")
        module.save_pretrained(theirs)
        model = interop.load(theirs, dtype=dtype)
        interop.save(model, ours)
        again = type(module).from_pretrained(ours).eval()
    x, z = _inputs(model)
    row: dict[str, Any] = {}
    for half, network, theirs_of, v in (
        ("encoder", model.encoder, 0, x),
        ("decoder", model.decoder, 1, z),
    ):
        function = _halves(module, z.shape[-1])[theirs_of]
        value, gradient = _torch_gradient(function, v, torch.float32)
        got, slope = _jax_gradient(network.apply, model.params[half], v)
        written, _ = _torch_gradient(_halves(again, z.shape[-1])[theirs_of], v, torch.float32)
        row[half] = {
            "value": _difference(got, value),
            "gradient": _difference(slope, gradient),
            "written": _difference(got, written),
        }
        if dtype == "bfloat16":
            narrow = _halves(make(name).to(torch.bfloat16), z.shape[-1])[theirs_of]
            value_16, gradient_16 = _torch_gradient(narrow, v, torch.bfloat16)
            row[half]["pytorch"] = {
                "value": _difference(value_16, value),
                "gradient": _difference(gradient_16, gradient),
            }
    return row


def main() -> None:
    """Compares all classes in both dtypes, and writes the result."""
    rows = {dtype: {} for dtype in ("float32", "bfloat16")}  # type: dict[str, dict[str, Any]]
    for dtype, of_models in rows.items():
        for name in MODELS:
            of_models[name] = compare(name, dtype)
            print(dtype, name, of_models[name], flush=True)
    import diffusers
    import torch
    import transformers

    versions = {m.__name__: m.__version__ for m in (torch, diffusers, transformers)}
    write_json(result_path(f"interop-{device_name()}.json"), {**machine(), **versions, **rows})


if __name__ == "__main__":
    main()
