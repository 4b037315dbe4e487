"""The paths of benchmarks in a checkout and in an installed package."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import paths

ROOT = Path(paths.__file__).parents[1]


def test_in_a_checkout_results_are_in_the_repository():
    assert paths.root() == ROOT
    assert paths.result_path("x.json") == ROOT / "benchmarks/results/x.json"
    assert paths.figure_path("x.png") == ROOT / "docs/figures/x.png"


def test_configs_are_found_with_and_without_a_setting():
    assert paths.config_of("beta_vae")["family"] == "beta_vae"
    assert paths.config_of("vqvae:fashion_mnist")["data"]["source"] == "tfds:fashion_mnist"


def test_the_installed_package_writes_to_the_current_directory(tmp_path):
    """A package `vaejax` with `benchmarks` and `configs` inside, as in the wheel."""
    (tmp_path / "vaejax").symlink_to(ROOT / "vaejax")
    program = f"""
import sys, vaejax
vaejax.__path__.append({str(ROOT)!r})  # where benchmarks and configs are
from vaejax.benchmarks import machine, paths
from vaejax.benchmarks.peers import rounds
assert paths.root() is None
assert str(paths.result_path("x.json")) == "results/x.json"
assert paths.config_of("beta_vae")["family"] == "beta_vae"
assert "configs" not in sys.modules and "benchmarks" not in sys.modules
assert rounds.__package__ == "vaejax.benchmarks.peers"
"""
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)


@pytest.mark.parametrize("name", ["codebook_use", "guards", "peers.rounds", "peers.worker"])
def test_modules_import_each_other_relatively(name):
    source = Path(importlib.util.find_spec(f"benchmarks.{name}").origin).read_text()
    assert "from benchmarks" not in source
    assert "from configs" not in source
