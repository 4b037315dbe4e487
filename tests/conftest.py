"""Every test runs with strict promotion, no silent rank promotion, and 8 virtual CPU devices.

Most of a test is compilation, a quarter of it LLVM's further optimisations, which gain nothing in
programs so small.
"""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=1")

import jax

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
