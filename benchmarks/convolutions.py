"""Times XLA's convolutions and this backend's implementation on the layers of two models.

  python -m benchmarks.convolutions [--repeats 7]

One step is the value of a layer and the gradients in its input and its kernel. It runs once per
dispatch ("top") and within `lax.scan` ("scan"). Implementations are interleaved, so that a slowdown
of the machine affects all of them, and the shortest time of each counts. Writes
`results/convolutions-<device>.json`.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vaejax.networks.ops import conv2d

from .machine import device_name, machine
from .paths import result_path, write_json

__all__ = ["main"]


class _Layer(NamedTuple):
    """A square convolution; `size` and `inputs` are the width and channels of its input."""

    model: str
    size: int
    inputs: int
    outputs: int
    kernel: int
    stride: int
    transposed: bool = False

    @property
    def name(self) -> str:
        """For example "dsprites 64x64x1 -> 32, 4x4 /2"; "*2" is a transposed convolution."""
        step = f"{'*' if self.transposed else '/'}{self.stride}"
        return (
            f"{self.model} {self.size}x{self.size}x{self.inputs} -> {self.outputs}, "
            f"{self.kernel}x{self.kernel} {step}"
        )


_LAYERS = (
    _Layer("dsprites", 64, 1, 32, 4, 2),
    _Layer("dsprites", 32, 32, 32, 4, 2),
    _Layer("dsprites", 16, 32, 64, 2, 2),
    _Layer("dsprites", 8, 64, 64, 2, 2),
    _Layer("dsprites", 4, 64, 64, 4, 2, transposed=True),
    _Layer("dsprites", 8, 64, 32, 4, 2, transposed=True),
    _Layer("dsprites", 16, 32, 32, 4, 2, transposed=True),
    _Layer("dsprites", 32, 32, 1, 4, 2, transposed=True),
    _Layer("vqvae", 32, 3, 64, 4, 2),
    _Layer("vqvae", 28, 1, 64, 4, 2),
    _Layer("vqvae", 16, 64, 128, 4, 2),
    _Layer("vqvae", 8, 128, 128, 3, 1),
    _Layer("vqvae", 8, 128, 32, 3, 1),
    _Layer("vqvae", 8, 32, 128, 1, 1),
    _Layer("vqvae", 8, 128, 64, 4, 2, transposed=True),
    _Layer("vqvae", 16, 64, 3, 4, 2, transposed=True),
)


def _measure(layer: _Layer, batch: int, repeats: int, steps: int) -> dict[str, float]:
    """Times one layer.

    Args:
      layer: the layer.
      batch: images per batch.
      repeats: measurements of each variant.
      steps: steps in one measurement.

    Returns:
      Milliseconds per step by variant: "native top", "native scan", and both of the other
      implementation, which is "product" on CPU.
    """
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (batch, layer.size, layer.size, layer.inputs))
    shape = (layer.kernel, layer.kernel, layer.inputs, layer.outputs)
    kernel = 0.1 * jax.random.normal(keys[1], shape)
    apply = conv2d.conv_transpose if layer.transposed else conv2d.conv
    output = jax.eval_shape(lambda x, kernel: apply(x, kernel, layer.stride), x, kernel)
    weights = jax.random.normal(keys[2], output.shape)

    variants: dict[str, Callable[[Any], Any]] = {}
    for implementation in ("native", conv2d.default_implementation()):

        def step(
            carry: Any, _: None = None, implementation: str = implementation
        ) -> tuple[Any, jax.Array]:
            def loss(x: jax.Array, kernel: jax.Array) -> jax.Array:
                return jnp.vdot(
                    apply(x, kernel, layer.stride, implementation=implementation), weights
                )

            value, gradients = jax.value_and_grad(loss, argnums=(0, 1))(*carry)
            # The next step uses every gradient, or the compiler would remove it.
            return jax.tree.map(lambda a, g: a - 1e-6 * g, carry, gradients), value

        single = jax.jit(step)

        def top(carry: Any, single: Callable[..., Any] = single) -> Any:
            for _ in range(steps):
                carry, _ = single(carry)
            return carry

        def scanned(carry: Any, step: Callable[..., Any] = step) -> Any:
            # Returns the values too, or the compiler would remove the forward pass.
            return jax.lax.scan(step, carry, None, length=steps)

        variants[f"{implementation} top"] = top
        variants[f"{implementation} scan"] = jax.jit(scanned)

    times: dict[str, list[float]] = {name: [] for name in variants}
    for repeat in range(repeats + 1):  # the first one compiles
        for name, variant in variants.items():
            start = time.perf_counter()
            jax.block_until_ready(variant((x, kernel)))
            if repeat:
                times[name].append(1e3 * (time.perf_counter() - start) / steps)
    return {name: min(values) for name, values in times.items()}


def main() -> None:
    """Measures all layers, prints a table and writes it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each variant")
    parser.add_argument("--steps", type=int, default=2, help="steps in one measurement")
    parser.add_argument("--batch", type=int, default=64, help="images in a batch")
    arguments = parser.parse_args()

    rows: dict[str, dict[str, float]] = {}
    print(f"ms per step, batch {arguments.batch}\n")
    for layer in _LAYERS:
        row = _measure(layer, arguments.batch, arguments.repeats, arguments.steps)
        if not rows:
            print(f"{'layer':42}" + "".join(f"{name:>14}" for name in row))
        rows[layer.name] = row
        print(f"{layer.name:42}" + "".join(f"{value:14.2f}" for value in row.values()), flush=True)

    path = result_path(f"convolutions-{device_name()}.json")
    write_json(path, {**machine(), **vars(arguments), "ms_per_step": rows})
    print(f"\nWrote {path}.")


if __name__ == "__main__":
    main()
