"""Every test runs with strict promotion, no silent rank promotion, and 8 virtual CPU devices.

Most of a test is compilation, so XLA uses what compiles fast, and compiled programs are dropped
when they take much memory.

`JAX_PLATFORMS=cuda,cpu` runs the tests on an accelerator, in full float32; those that need more
devices than there are get skipped.
"""

import ctypes
import gc
import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# Programs without the lines of their source are lowered faster.
jax.config.update("jax_traceback_in_locations_limit", 0)


def _xla_flags() -> str:
    """Flags that make compilation fast, as far as this jaxlib has them."""
    flags = "--xla_backend_optimization_level=0"
    # The older emitters of fused loops compile three times as fast as the newer, in half the
    # memory.
    fast = f"{flags} --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    # An unknown flag aborts the process that parses it.
    parse = [sys.executable, "-c", "from jaxlib import xla_client; xla_client.CompileOptions()"]
    environment = {**os.environ, "XLA_FLAGS": fast}
    parsed = subprocess.run(parse, env=environment, capture_output=True, check=False)
    return flags if parsed.returncode else fast


# Workers and the processes that tests start inherit them. If a flag is set twice, the last wins.
if "xla_backend_optimization_level" not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{_xla_flags()} {os.environ.get('XLA_FLAGS', '')}".strip()

# Tracing makes many short-lived objects; the hook below collects what is left of them.
gc.set_threshold(200_000, 50, 100)

# They compile little, and train nothing.
_FAST = (
    "core",
    "data",
    "distributions",
    "docs_form_test.py",
    "evaluation/generation",
    "experiment/errors_test.py",
    "latents",
    "losses/constraints_test.py",
    "losses/losses_test.py",
    "losses/metrics_test.py",
    "optimizers",
    "quantizers/nearest_neighbors_test.py",
    "quantizers/segment_sums_test.py",
    "quantizers/token_layout_test.py",
    "quantizers/vector_test.py",
    "rooms_test.py",
    "sweeps/confidence_intervals_test.py",
    "sweeps/grid_test.py",
    "training/batch_loader_test.py",
    "visualization/event_renderers_test.py",
    "visualization/plots",
    "words_test.py",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests of `_FAST` that are not slow."""
    fast = [Path(__file__).parent / name for name in _FAST]
    for item in items:
        of_fast = any(item.path.is_relative_to(path) for path in fast)
        if of_fast and item.get_closest_marker("slow") is None:
            item.add_marker(pytest.mark.fast)


_MAX_GROWTH = 300 * 2**20  # bytes between two drops
_STATM = Path("/proc/self/statm")


def _resident_bytes() -> int:
    """Memory of this process; 0 where the system has no /proc."""
    if not _STATM.exists():
        return 0
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class _Programs:
    resident_after_drop = _resident_bytes()

    @classmethod
    def drop(cls) -> None:
        """Forgets compiled programs and returns their memory to the system."""
        jax.clear_caches()
        gc.collect()
        if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):  # glibc keeps it otherwise
            libc.malloc_trim(0)
        cls.resident_after_drop = _resident_bytes()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown() -> None:
    """Drops compiled programs whenever memory has grown by `_MAX_GROWTH`.

    A drop takes 0.6 s, and what is used again has to be compiled again.
    """
    if _resident_bytes() - _Programs.resident_after_drop > _MAX_GROWTH:
        _Programs.drop()


def pytest_collection_finish() -> None:
    """Takes what the imports made, which stays, out of later collections of garbage."""
    gc.collect()
    gc.freeze()
    _Programs.resident_after_drop = _resident_bytes()


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
