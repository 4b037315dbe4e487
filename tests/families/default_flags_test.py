"""XLA's default flags train as the flags of the tests, which compile other loops."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from tests.families.conftest import FAMILIES_UNDER_TEST
from vaejax.training.train_step import init_state, make_step

ROOT = Path(__file__).parents[2]
NAMES = ("beta_vae", "cvae", "lvae", "sparse_vae", "vqvae")
FLAGS = ("--xla_backend_optimization_level", "--xla_cpu_use_fusion_emitters")
STEPS = 3


def trained(name):
    """Parameters after a few steps, by their path."""
    case = FAMILIES_UNDER_TEST[name]
    state = jax.jit(lambda batch: init_state(case.family, 0, batch))(case.batch(0))
    step = jax.jit(make_step(case.family))
    for i in range(STEPS):
        state, _, ok = step(state, case.batch(i), 0)
        assert ok
    leaves = jax.tree_util.tree_leaves_with_path(state.params)
    return {f"{name}{jax.tree_util.keystr(path)}": np.asarray(leaf) for path, leaf in leaves}


def save(file):
    """Writes the parameters of all these families."""
    np.savez(file, **{k: v for name in NAMES for k, v in trained(name).items()})


@pytest.mark.slow
def test_default_flags_give_the_same_training(tmp_path):
    flags = os.environ["XLA_FLAGS"].split()
    assert any(flag.startswith(FLAGS) for flag in flags)
    default = [flag for flag in flags if not flag.startswith(FLAGS)]
    file = tmp_path / "default.npz"
    program = "import sys; from tests.families.default_flags_test import save; save(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", program, str(file)],
        env={**os.environ, "XLA_FLAGS": " ".join(default)},
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = np.load(file)
    expected = {k: v for name in NAMES for k, v in trained(name).items()}
    assert set(found) == set(expected)
    for path, want in expected.items():
        np.testing.assert_allclose(found[path], want, rtol=0, atol=1e-5, err_msg=path)
