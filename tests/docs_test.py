"""The documentation's Python runs, and its commands parse.

Blocks of ```python run in order, a page in one namespace, with at most four training steps. A block
with a title is written to a file of this name, which later blocks import and commands name. Pages
that open a trained run find a tiny one in `runs/beta_vae`.
"""

import ast
import importlib
import json
import re
import shlex
import shutil
import sys
from pathlib import Path
from unittest import mock

import pytest
from absl import flags

import vaejax
from vaejax import main
from vaejax.core import registry
from vaejax.experiment.stock_configs import stock_configs
from vaejax.experiment.workdir import flatten
from vaejax.visualization.final_figures import draw_final_figures

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {str(p.relative_to(ROOT)): p for p in [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]}
TEXTS = {name: path.read_text(encoding="utf-8") for name, path in PAGES.items()}
BLOCK = re.compile(
    r'^```(?P<kind>\w+)(?: title="(?P<title>[^"]+)")?\n(?P<code>.*?)^```$', re.M | re.S
)
MAX_STEPS = 4


def blocks(name, kind):
    """Title or '', and code, of the fenced blocks of a kind."""
    found = (m for m in BLOCK.finditer(TEXTS[name]) if m["kind"] == kind)
    return [(m["title"] or "", m["code"]) for m in found]


def prose(name):
    """A page without its fenced blocks."""
    return BLOCK.sub("", TEXTS[name])


def commands(name):
    """Arguments of every `python -m vaejax.main` in the shell blocks of a page."""
    return commands_in("\n".join(code for _, code in blocks(name, "sh")))


def commands_in(text):
    """The same, of one text."""
    lines = text.replace("\\\n", " ").splitlines()
    parts = [part for line in lines for part in line.split("&&") if "vaejax.main" in part]
    return [shlex.split(part.partition("vaejax.main")[2]) for part in parts]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder `runs` with a trained run, of a few small layers and two steps."""
    folder = tmp_path_factory.mktemp("docs") / "runs"
    config = main._fields(stock_configs() / "beta_vae.py", "").to_dict()
    config["model"]["network"] = {"kind": "mlp", "hidden": (8,)}
    config["train"].update(steps=2, batch_size=32)
    source = vaejax.load_data(config["data"]["source"])
    players = vaejax.players(config["players"])
    family = vaejax.families.build(config["family"], (64, 64, 1), players, config["model"], {})
    settings = vaejax.Settings(steps=2, batch_size=32)
    trainer = vaejax.Trainer(family, source, settings, mesh=vaejax.make_mesh(1))
    vaejax.fit(trainer, settings, workdir=folder / "beta_vae")
    del config["sweep"]  # as in a run without one
    (folder / "beta_vae" / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def workspace(tmp_path, monkeypatch, request):
    """An empty folder, with the run if the page reads one; names registered in it are forgotten."""
    name = request.node.callspec.params["name"]
    if any("load_run(" in code for title, code in blocks(name, "python")):
        shutil.copytree(request.getfixturevalue("runs"), tmp_path / "runs")
    one_device = vaejax.make_mesh(1)  # which compiles faster than eight
    monkeypatch.setattr("vaejax.training.trainer.make_mesh", lambda: one_device)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with registry.isolated():
        yield tmp_path
    for title, _ in blocks(name, "python"):
        sys.modules.pop(Path(title).stem, None)


def write_files(name, folder):
    for title, code in blocks(name, "python"):
        if title:
            (folder / title).write_text(code, encoding="utf-8")


def quick(code):
    """The code with fewer steps and smaller batches."""
    limits = {"steps": MAX_STEPS, "batch_size": 8}

    def limited(setting):
        return f"{setting[1]}={min(int(setting[2]), limits[setting[1]])}"

    return re.sub(r"\b(steps|batch_size)=([\d_]+)", limited, code)


def execute(name, folder):
    """The namespace of a page after its Python has run."""
    write_files(name, folder)
    scope = {"__name__": "__main__"}
    for title, code in blocks(name, "python"):
        if not title:
            exec(compile(quick(code), name, "exec"), scope)
    return scope


def parse(argv):
    """The config of a command; fails as the command does."""
    for flag in [flag for flag in flags.FLAGS if flag.startswith("config.")]:
        delattr(flags.FLAGS, flag)
    names = ("config", "workdir", "mode", "split", "data", "output", "reconstructions")
    for flag in (*names, "show_config"):
        flags.FLAGS[flag].unparse()
    flags.FLAGS.unparse_flags()
    with mock.patch.object(sys, "argv", ["main", *argv]):
        rest = main._parse(["main", *argv])
    assert rest == ["main"]
    return main._CONFIG.value.to_dict()


def execute_with_commands(name, folder):
    """The namespace of a page after its Python and its commands have run, in their order."""
    write_files(name, folder)
    scope = {"__name__": "__main__"}
    for block in BLOCK.finditer(TEXTS[name]):
        if block["kind"] == "python" and not block["title"]:
            exec(compile(block["code"], name, "exec"), scope)
        for argv in commands_in(block["code"]) if block["kind"] == "sh" else ():
            parse([*argv, "--config.mesh.data=1"])
            main.main(["main"])
    return scope


# Pages that train a model of their own and state what it reaches.
TRAINING = ("docs/guides/anomalies.md", "docs/guides/imputation.md")
# Other tests run what these pages show.
LONG = {"docs/guides/sweeps.md", "docs/guides/trained_model.md"}
RUNNABLE = [
    name
    for name in PAGES
    if name not in TRAINING and any(not title for title, _ in blocks(name, "python"))
]


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINING)
def test_a_guide_reaches_what_it_states(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with registry.isolated():
        scope = execute_with_commands(name, tmp_path)
    if name == "docs/guides/anomalies.md":
        assert min(scope["areas"].values()) > 0.9
        assert scope["detected"] > 0.6 > 0.3 > scope["false_alarms"]
    else:
        assert scope["errors"]["impute"] < 0.7 * scope["errors"]["column mean"]
        assert scope["several"].shape == (5, *scope["x"].shape)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in LONG)) for n in RUNNABLE]
)
def test_python_of_a_page_runs(name, workspace):
    scope = execute(name, workspace)
    if name == "README.md":
        assert scope["trace"].likelihood.mean.shape == (16, 64, 64, 1)
    if name == "docs/compose.md":
        assert [int(outcome.state.step) for outcome in scope["outcomes"]] == [4, 4]
    if name == "docs/guides/resume.md":
        assert int(scope["state"].step) == 4
    if name == "docs/guides/sweeps.md":
        assert [values["beta"] for values, _ in scope["models"]] == [1, 1, 4, 4]
    if name == "docs/guides/export.md":
        assert scope["z"].shape == (5, 10)
    if name == "docs/extend/metric.md":
        assert scope["values"]["psnr"] > 0
        importlib.import_module("psnr_figure")
        draw_final_figures(workspace / "figures", scope["values"])
        assert [file.name for file in (workspace / "figures").iterdir()] == ["psnr.png"]


@pytest.mark.parametrize("name", [name for name in PAGES if commands(name)])
def test_commands_of_a_page_parse(name, workspace, capsys):
    write_files(name, workspace)
    for argv in commands(name):
        try:
            config = parse(argv)
        except SystemExit:
            pytest.fail(f"{shlex.join(argv)}: {capsys.readouterr().err}")
        assert set(config) >= {"family", "data", "players", "train"}
        assert all(Path(file).is_file() for file in config["imports"])
        if "--show_config" not in argv:
            assert any(argument.startswith("--workdir=") for argument in argv)


def test_configs_settings_and_fields_in_the_prose_exist():
    fields, named = set(), set()
    for name in PAGES:
        for file, setting in re.findall(r"\bconfigs/(\w+)\.py(?::(\w+))?", prose(name)):
            if not re.search("[A-Z]", file + setting):  # such as FILE.py:SETTING
                named.add((file, setting))
    named |= {(p.stem, "") for p in stock_configs().glob("[a-z]*.py")}
    named |= {("vae_gan", "fashion_mnist"), ("beta_vae", "capacity")}
    for file, setting in sorted(named):
        fields |= set(flatten(main._fields(stock_configs() / f"{file}.py", setting).to_dict()))
    sections = {field[: i.start()] for field in fields for i in re.finditer(r"\.", field)}
    for name in PAGES:
        for field in re.findall(r"--config\.([a-z_.\d]+)\b", prose(name)):
            assert field.startswith("any.") or field in fields | sections, f"{name}: {field}"


def test_benchmarks_that_are_named_exist():
    for name, text in TEXTS.items():
        for module in re.findall(r"python -m benchmarks\.(\w+)", text):
            file = ROOT / "benchmarks" / module
            assert file.with_suffix(".py").is_file() or file.is_dir(), (name, module)


def test_python_of_the_documentation_is_valid_where_it_does_not_run():
    for name in PAGES:
        for _, code in blocks(name, "py"):
            assert ast.parse(code).body, name
