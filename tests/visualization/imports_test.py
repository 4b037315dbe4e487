"""The public names of the room, and its error without matplotlib."""

import importlib.resources
import subprocess
import sys

import pytest

from vaejax import visualization
from vaejax.visualization import plots

WITHOUT_MATPLOTLIB = """
import sys
sys.modules["matplotlib"] = None
import vaejax.evaluation
try:
    import vaejax.visualization
except ImportError as error:
    print(error)
"""


@pytest.mark.parametrize("room", [visualization, plots])
def test_public_names_exist(room):
    assert room.__all__ == sorted(room.__all__, key=lambda name: (not name.isupper(), name))
    assert all(hasattr(room, name) for name in room.__all__)


def test_plots_are_functions_and_not_modules_of_that_name():
    modules = {p.stem for p in importlib.resources.files(plots).iterdir() if p.suffix == ".py"}
    assert not modules & set(plots.__all__)


def test_missing_matplotlib_is_reported_at_import():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_MATPLOTLIB], capture_output=True, text=True, check=True
    )
    assert "pip install 'vaejax[train]'" in done.stdout
