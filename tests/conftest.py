"""Every test runs with strict promotion, no silent rank promotion, and 8 virtual CPU devices.

Most of a test is compilation, much of it LLVM's optimisations, which gain nothing in programs so
small.

`JAX_PLATFORMS=cuda,cpu` runs them on an accelerator, in full float32; what wants more devices
than there are is skipped.
"""

import os
from collections.abc import Generator

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


if os.environ["JAX_PLATFORMS"] != "cpu":
    jax.config.update("jax_default_matmul_precision", "highest")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call() -> Generator[None, object, object]:
        try:
            return (yield)
        except ValueError as error:
            if f"devices, found {jax.device_count()};" not in str(error):
                raise
            pytest.skip(str(error))
