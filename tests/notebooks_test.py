"""The notebooks in colab/: their form, and execution from top to bottom.

Each runs in a separate process, in an empty directory, with very few steps. The representation of a
figure at the end of a cell is computed, as in Jupyter. They run with `-m slow`: `compose` on one
device, the others on eight virtual devices.
"""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "colab").glob("*.ipynb"))
NAMES = ["autoencoder", "compose", "hierarchical", "sweeps", "td_vae", "vqvae"]
REPOSITORY = "vaejax/vaejax"


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def cells(path: Path, kind: str) -> list[str]:
    return [source(cell) for cell in read(path)["cells"] if cell["cell_type"] == kind]


def execute(path: Path) -> list[str]:
    """Runs the code cells in one namespace; the HTML of all cells that end with a figure."""
    scope: dict[str, Any] = {"__name__": "__main__"}
    shown = []
    for number, code in enumerate(cells(path, "code")):
        tree, name = ast.parse(code), f"{path.name}, code cell {number}"
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, name, "exec"), scope)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), name, "eval"), scope)
            if hasattr(value, "_repr_html_"):
                shown.append(value._repr_html_())
    return shown


def test_notebooks_are_listed():
    assert [path.stem for path in NOTEBOOKS] == NAMES


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
class TestForm:
    def test_is_a_valid_notebook_without_outputs(self, path):
        book = read(path)
        assert (book["nbformat"], book["nbformat_minor"]) == (4, 5)
        assert book["metadata"]["kernelspec"]["name"] == "python3"
        names = [cell["id"] for cell in book["cells"]]
        assert len(set(names)) == len(names)
        for cell in book["cells"]:
            assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", cell["id"])
            assert isinstance(cell["metadata"], dict)
            assert cell["source"]
            assert all(line.endswith("\n") for line in cell["source"][:-1])
            kind, extra = cell["cell_type"], set(cell) - {"cell_type", "id", "metadata", "source"}
            if kind == "code":
                assert (cell["outputs"], cell["execution_count"]) == ([], None)
                assert extra == {"outputs", "execution_count"}
            else:
                assert kind == "markdown"
                assert not extra

    def test_first_cells_link_to_colab_install_and_detect_devices(self, path):
        first = source(read(path)["cells"][0])
        link = "https://colab.research.google.com/github"
        assert f"({link}/{REPOSITORY}/blob/main/colab/{path.name})" in first
        install, detect, *_ = cells(path, "code")
        assert 'find_spec("vaejax") is None' in install
        assert f"git+https://github.com/{REPOSITORY}" in install
        assert "cuda12" in install
        assert "tpu" in install
        assert "jax.devices()" in detect
        assert '"gpu", "tpu"' in detect
        assert "VAEJAX_NOTEBOOK_STEPS" in detect

    def test_cells_are_short_and_papers_are_cited(self, path):
        prose, code = cells(path, "markdown"), cells(path, "code")
        assert 12 <= len(prose) + len(code) <= 22
        assert max(len(text.splitlines()) for text in prose + code) <= 40
        assert re.search(
            r"https://(arxiv\.org/abs/\d{4}\.\d|openreview\.net/forum)", "".join(prose)
        )
        assert re.search(r"(eq\.|section|algorithm)\s+\d", "".join(prose))
        assert not re.search(r"^[!%]", "".join(code), re.MULTILINE)

    def test_imports_come_from_rooms(self, path):
        imports = re.findall(r"^from (vaejax[\w.]*) import", "\n".join(cells(path, "code")), re.M)
        assert imports
        deeper = {name for name in imports if name.count(".") > 1}
        assert deeper <= {"vaejax.optimizers.ema_codebook"}

    def test_linked_files_exist(self, path):
        text = "".join(cells(path, "markdown"))
        links = re.findall(rf"{REPOSITORY}/blob/main/([\w./-]+)", text)
        for file in (*links, *re.findall(r"`(configs/\w+\.py)`", text)):
            assert (ROOT / file).is_file(), file


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "devices"), [("compose", 1), *((n, 8) for n in NAMES if n != "compose")]
)
def test_is_executed(name, devices, tmp_path):
    program = [sys.executable, "-W", "error", str(Path(__file__)), f"{name}.ipynb"]
    settings = {
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices),
        "JAX_NUMPY_DTYPE_PROMOTION": "strict",
        "JAX_NUMPY_RANK_PROMOTION": "raise",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # most of the time is compilation
        "JAX_COMPILATION_CACHE_DIR": str(
            tmp_path / "compiled"
        ),  # some programs occur several times
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "VAEJAX_NOTEBOOK_STEPS": "2",
        "PYTHONPATH": str(ROOT),
    }
    environment = {k: v for k, v in os.environ.items() if k != "MPLBACKEND"}
    done = subprocess.run(
        program,
        cwd=tmp_path,
        env=environment | settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    shown = int(done.stdout.splitlines()[-1])
    code_cells = cells(ROOT / "colab" / f"{name}.ipynb", "code")
    assert shown == len([code for code in code_cells if shows_figure(code)]) >= 4


def shows_figure(code: str) -> bool:
    """Whether a cell ends with a figure."""
    last = ast.unparse(ast.parse(code).body[-1])
    return bool(re.match(r"show\(|traversals\(|\w*figures\b", last))


if __name__ == "__main__":
    print(len(execute(ROOT / "colab" / sys.argv[1])))
