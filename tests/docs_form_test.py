"""The documentation's links, navigation, lists and examples are complete and in form."""

import importlib
import re

import pytest

import vaejax
from tests.docs_test import BLOCK, DOCS, PAGES, ROOT, TEXTS, blocks, prose
from tests.rooms_test import ROOMS
from vaejax.experiment.stock_configs import stock_configs


def test_the_first_line_of_a_page_says_whom_it_is_for():
    for name in PAGES:
        if name != "README.md":
            first = next(line for line in TEXTS[name].splitlines() if line and line[0] != "#")
            assert first.startswith("For "), name


def slugs(text):
    """The anchors of the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", BLOCK.sub("", text), re.M)
    plain = [re.sub(r"[`*]|\]\(.*?\)|\[", "", h).lower() for h in headings]
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", h).strip()) for h in plain}


@pytest.mark.parametrize("name", PAGES)
def test_links_of_a_page_resolve(name):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(name)):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        file = (PAGES[name].parent / path).resolve() if path else PAGES[name]
        room = file.stem if file.parent == DOCS / "api" and file.stem in ROOMS else ""
        if room:
            if anchor:
                module, _, attribute = anchor.rpartition(".")
                assert module.startswith(f"vaejax.{room}"), target
                assert hasattr(importlib.import_module(module), attribute), target
            continue
        assert file.exists(), target
        if anchor and file.suffix == ".md":
            assert anchor in slugs(file.read_text(encoding="utf-8")), target


def test_the_navigation_has_every_page_and_every_room():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    for path in DOCS.rglob("*.md"):
        assert f" {path.relative_to(DOCS)}\n" in navigation
    for notebook in (ROOT / "colab").glob("*.ipynb"):
        assert f" colab/{notebook.name}\n" in navigation
    rooms = re.findall(r"api/(\w+)\.md", navigation)
    assert rooms == ["index", *(room for room in ROOMS if room != "main")]


def test_the_reference_lists_every_public_name():
    listed = set(re.findall(r"\[`(?:vaejax\.)?(\w+)`\]", TEXTS["docs/api/index.md"]))
    assert set(vaejax.__all__) - {"__version__"} <= listed
    assert listed - {"experiment", "notebook"} <= set(vaejax.__all__)


def test_the_questions_of_a_new_user_have_pages():
    questions = re.findall(r"^\d+\. \*\*.*\?\*\*(.*(?:\n +.*)*)", TEXTS["docs/questions.md"], re.M)
    assert len(questions) >= 20
    assert all("](" in answer for answer in questions)
    assert "(questions.md)" in TEXTS["docs/index.md"]


def test_every_family_has_a_row_in_the_readme_and_figures_in_the_gallery():
    for file in stock_configs().glob("[a-z]*.py"):
        assert f"{file.name}`" in TEXTS["README.md"], file.name
    shown = set(re.findall(r"figures/(\w+\.png)", TEXTS["docs/gallery.md"]))
    assert {p.name for p in (DOCS / "figures").iterdir()} - {"overview.png"} == shown


def test_readme_runs_and_tests_with_one_command_each():
    for heading in ("Run", "Test"):
        section = re.split(r"^## ", TEXTS["README.md"], flags=re.M)
        (text,) = [part for part in section if part.startswith(f"{heading}\n")]
        opening = re.match(rf"{heading}\n\n```sh\n(.*)\n```\n", text)
        assert opening
        assert opening[1].startswith("python3 -m venv .venv && .venv/bin/pip install -q -e '.[")


def test_the_composed_example_is_short():
    parts, loss, *_ = [code for _, code in blocks("docs/compose.md", "python")]
    lines = [line for line in parts.splitlines() if line.strip()]
    assert len([line for line in lines if not line.startswith(("from", "import"))]) < 20
    assert len([line for line in loss.splitlines() if line.strip()]) < 20
    first = [line for line in blocks("README.md", "python")[0][1].splitlines() if line.strip()]
    assert len(first) == 8


def test_the_citation_is_of_this_version():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {vaejax.__version__}\n" in citation
