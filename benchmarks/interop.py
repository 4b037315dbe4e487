"""Compares models of this library with PyTorch's on checkpoints of random parameters.

  python -m benchmarks.interop

For every class that `vaejax.interop` reads and writes, at the shapes of real configs scaled down:
the largest and the root mean square difference of values and of gradients in the inputs, in
standard deviations of PyTorch's, in both directions (read here what PyTorch wrote, and the
reverse). Needs torch, diffusers and transformers. Writes `results/interop-<device>.json`.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaejax import interop

from .interop_models import MODELS, make
from .machine import device_name, machine
from .paths import result_path, write_json

__all__ = ["compare", "main"]


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


def _rounded(a: jax.Array) -> jax.Array:
    return a.astype(jnp.bfloat16).astype(a.dtype)


def compare(name: str, dtype: str = "float32") -> dict[str, Any]:
    """Differences of a class in both directions, see the module.

    In bfloat16 the reference is PyTorch in float32. `pytorch` holds what PyTorch's own computation
    in bfloat16 differs from it, and `parameters` what a computation in float32 differs whose
    parameters alone are rounded to bfloat16: no computation in bfloat16 is free of that.
    """
    import torch

    module = make(name)
    with tempfile.TemporaryDirectory() as text:
        theirs, ours = Path(text, "theirs"), Path(text, "ours")
        module.save_pretrained(theirs)
        model, wide = interop.load(theirs, dtype=dtype), interop.load(theirs)
        interop.save(model, ours)
        again = type(module).from_pretrained(ours).eval()
    x, z = _inputs(model)
    row: dict[str, Any] = {}
    for half, network, exact, theirs_of, v in (
        ("encoder", model.encoder, wide.encoder, 0, x),
        ("decoder", model.decoder, wide.decoder, 1, z),
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
            rounded, slope = _jax_gradient(
                exact.apply, jax.tree.map(_rounded, model.params[half]), v
            )
            row[half]["parameters"] = {
                "value": _difference(rounded, value),
                "gradient": _difference(slope, gradient),
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
