"""The rooms of the library, from the lowest to the highest, and what may import what."""

import ast
import functools
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(importlib.import_module("vaejax").__path__[0])

# A room imports from itself and from the rooms before it.
ROOMS = (
    *("core", "distributions", "data", "quantizers", "networks", "latents", "losses"),
    *("optimizers", "models", "second_stage", "families", "training", "export"),
    *("interop", "evaluation", "sweeps", "visualization", "experiment", "notebook", "main"),
)
# What only some rooms may import.
ONLY = {
    "flax": {"networks"},
    "matplotlib": {"visualization"},
    "ml_collections": {"experiment", "main"},
    "tensorboardX": {"training"},
    "wandb": {"training"},
    "mlflow": {"training"},
    "trackio": {"training"},
    "tensorflow_datasets": {"data"},
}


@functools.cache
def _modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def _room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(("vaejax", *parts)).removesuffix(".__init__")


@functools.cache
def _imports(path: Path) -> tuple[str, ...]:
    """Every module or name that a file imports, inside functions too."""
    return tuple(_parsed_imports(path))


def _parsed_imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_the_package_holds_rooms_and_two_modules():
    found = {p.name for p in PACKAGE.iterdir() if p.name != "__pycache__"}
    folders = set(ROOMS) - {"notebook", "main"}
    assert found - {"configs", "benchmarks"} == folders | {
        "__init__.py",
        "main.py",
        "notebook.py",
        "py.typed",
    }


@pytest.mark.parametrize("room", ROOMS)
def test_no_room_imports_from_a_higher_one(room):
    upward = []
    for path in _modules():
        if _room(path) != room:
            continue
        for name in _imports(path):
            parts = name.split(".")
            if parts[0] != "vaejax" or len(parts) < 2 or parts[1] not in ROOMS:
                continue
            if ROOMS.index(parts[1]) > ROOMS.index(room):
                upward.append(f"{path.relative_to(PACKAGE)} imports {name}")
    assert not upward


@pytest.mark.parametrize("package", ONLY)
def test_packages_that_belong_to_a_room_are_imported_there_alone(package):
    users = {_room(p) for p in _modules() for n in _imports(p) if n.split(".")[0] == package}
    assert users == ONLY[package] & users
    assert users, f"nothing imports {package}: is the rule still of use?"


def test_no_import_cycle():
    names = {_name(path) for path in _modules()}
    graph: dict[str, set[str]] = {}
    for path in _modules():
        own = _name(path)
        targets = {n if n in names else n.rpartition(".")[0] for n in _imports(path)}
        # A package imports its modules; a module that imports from its own package needs those
        # that come first there, which Python itself checks.
        graph[own] = {t for t in targets & names if t != own and not own.startswith(f"{t}.")}
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join((*above[above.index(name) :], name))
        if name not in done:
            for target in sorted(graph[name]):
                visit(target, (*above, name))
            done.add(name)

    for name in sorted(graph):
        visit(name, ())


def test_no_file_is_two_rooms():
    long = {p.name: n for p in _modules() if (n := len(p.read_text().splitlines())) > 310}
    assert not long
