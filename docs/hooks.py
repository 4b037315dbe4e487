"""Build hooks of the site: API pages, and files of the repository that are outside of `docs/`.

`mkdocs.yml` lists the API pages `api/ROOM.md` in its navigation. They are generated here from the
modules of each room, so that no list of modules has to be kept.
"""

import ast
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
# Files of the repository, outside of `docs/`, that are pages or images of the site.
SHOWN = ("CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/results/memory-cpu.png", "colab/*.ipynb")
_LINK = re.compile(r"\]\((?P<target>(?:\.\./)+[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")


def _is_public(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")


def api_page(room: str) -> str:
    """The Markdown of a room's page: its docstring, then one section per module."""
    path = ROOT / "vaejax" / room
    files = [path.with_suffix(".py")] if path.with_suffix(".py").is_file() else []
    if path.is_dir():
        files = [path / "__init__.py", *sorted(p for p in path.rglob("*.py") if p.parent == path)]
        files += [p for p in sorted(path.rglob("*.py")) if p.parent != path]
    lines = [
        f"# vaejax.{room}",
        "",
        "For users of the Python interface. Generated from docstrings.",
    ]
    for file in dict.fromkeys(files):
        name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        defined = [n.name for n in ast.parse(file.read_text("utf-8")).body if _is_public(n)]
        whole = file.name != "__init__.py"
        if whole and not defined:
            continue
        if name != f"vaejax.{room}":
            lines += ["", f"## {name.removeprefix(f'vaejax.{room}.')}"]
        lines += ["", f"::: {name}"]
        if not whole:  # without the names that it imports, which follow in their modules
            lines += ["    options:", f"      members: {defined}"]
    return "\n".join(lines) + "\n"


def shown_files() -> set[str]:
    """The files that match `SHOWN`."""
    return {p.relative_to(ROOT).as_posix() for pattern in SHOWN for p in ROOT.glob(pattern)}


@event_priority(100)
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the generated pages, and the files outside of `docs/`, before plugins see the files."""
    for room in re.findall(r"api/(\w+)\.md", str(config.nav)):
        if room != "index":
            files.append(File.generated(config, f"api/{room}.md", content=api_page(room)))
    for path in sorted(shown_files()):
        files.append(File(path, str(ROOT), config.site_dir, config.use_directory_urls))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Points links out of `docs/` to the files that the site has, or else to the repository."""
    del files
    folder, shown = posixpath.dirname(page.file.src_uri), shown_files()

    def replaced(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("docs", folder, link["target"]))
        anchor = link["anchor"] or ""
        if path.startswith("docs/"):
            return link[0]
        if path in shown:
            return f"]({posixpath.relpath(path, folder or '.')}{anchor})"
        return f"]({config.repo_url}/blob/main/{path}{anchor})"

    return _LINK.sub(replaced, markdown)
