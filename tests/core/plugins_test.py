"""Registration from outside, and the imports of a config."""

import contextlib
import sys

import pytest

import vaejax
from vaejax.core import registry
from vaejax.core.plugins import import_plugins, load_file


@pytest.fixture(autouse=True)
def _isolated():
    with registry.isolated():
        yield


def plugin(folder, name="mine", value=1):
    file = folder / f"{name}.py"
    file.write_text(
        "import vaejax\n"
        f"@vaejax.register('metric', '{name}')\n"
        "class Metric:\n"
        "    def requires(self, family, source): return None\n"
        f"    def compute(self, context): return {{'value': {value}}}\n"
    )
    return file


def test_a_file_is_imported_once_and_its_names_are_known(tmp_path):
    file = plugin(tmp_path)
    import_plugins([str(file)])
    first = vaejax.registered("metric")["mine"]
    assert first().compute(None) == {"value": 1}
    assert file in registry.files_that_registered()
    import_plugins([str(file)])
    assert vaejax.registered("metric")["mine"] is first


def test_a_file_that_runs_again_replaces_its_own_names(tmp_path):
    load_file(plugin(tmp_path))
    load_file(plugin(tmp_path, value=2))
    assert vaejax.registered("metric")["mine"]().compute(None) == {"value": 2}


def test_a_module_is_imported_by_name(tmp_path, monkeypatch):
    plugin(tmp_path, "a_module_of_mine")
    monkeypatch.syspath_prepend(tmp_path)
    import_plugins(["a_module_of_mine"])
    assert "a_module_of_mine" in vaejax.registered("metric")
    del sys.modules["a_module_of_mine"]


def test_names_registered_in_isolation_are_forgotten(tmp_path):
    before = {kind: dict(vaejax.registered(kind)) for kind in registry.KINDS}
    view, files = vaejax.registered("metric"), registry.files_that_registered()
    file = plugin(tmp_path)
    with contextlib.suppress(KeyError), registry.isolated():  # also after an error
        load_file(file)
        assert "mine" in view
        assert file in registry.files_that_registered()
        raise KeyError
    assert {kind: dict(vaejax.registered(kind)) for kind in registry.KINDS} == before
    assert dict(view) == before["metric"]
    assert registry.files_that_registered() == files


def test_names_of_others_are_not_replaced(tmp_path):
    import_plugins([str(plugin(tmp_path))])
    (tmp_path / "other").mkdir()
    with pytest.raises(ValueError, match=r"metric 'mine' exists.*mine\.py"):
        load_file(plugin(tmp_path / "other"))
    with pytest.raises(ValueError, match="family 'beta_vae' exists"):
        vaejax.register("family", "beta_vae")(lambda shape, players: None)


def test_unknown_kinds_and_missing_imports_are_reported(tmp_path):
    with pytest.raises(ValueError, match=r"'famly'.*did you mean 'family'"):
        vaejax.register("famly", "x")
    with pytest.raises(FileNotFoundError, match=r"config\.imports.*gone\.py"):
        import_plugins([str(tmp_path / "gone.py")])
    with pytest.raises(ImportError, match=r"config\.imports.*'no_such_module'"):
        import_plugins(["no_such_module"])


def test_every_kind_has_its_entries_once_the_library_is_imported():
    for kind in registry.KINDS:
        assert vaejax.registered(kind)
    assert "pseudo_inputs" in vaejax.registered("prior")
    with pytest.raises(TypeError):
        vaejax.registered("family")["mine"] = None
