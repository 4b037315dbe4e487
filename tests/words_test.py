"""Words that were private language and may not come back, and the public names of modules."""

import ast
import importlib
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = Path(importlib.import_module("vaejax").__path__[0])

# Each with the field's own term.
BANNED = {
    r"warmth|heat\b": "temperature",
    r"\b_?told\b": "say what the function does or returns",
    r"\bhoist(ed|ing)?\b": "precomputed constants",
    r"\brungs?\b": "level, LadderLevel",
    r"\banew\b": "again, resampled",
    r"\bno say\b": "is excluded",
    r"goes on from|\bgo on from\b": "resumes from",
    r"falls? silent": "posterior collapse",
    r"to the bit\b": "bit-for-bit",
    r"\bwants\b": "needs, expects",
    r"\bjudg(e|es|ed|ing|ement)\b": "evaluate, feature extractor",
    r"\bbest_guess\b": "point_estimate",
    r"\bfurther_(figures|metrics)\b|\bcheck_further\b|\bdraw_further\b": "final_metrics",
    r"\bcritics?\b": "discriminator",
    r"\bSeen:": "Result:",
    r"\bclueless\b|\bknows nothing\b": "uninformed",
    r"of one's own\b": "custom",
    r"\bprior_of\b|\bmax_skipped\b|\bknow_steps\b|\blowest_scale\b|\bhalvings_before\b": "renamed",
    r"\bmse_(ahead|still|jump)\b": "mse_rollout, mse_copy_last, mse_direct",
}
FORMER_NAMES = {"renamed_fields.py"}  # which lists them


def _texts() -> dict[str, str]:
    files = [*PACKAGE.rglob("*.py"), *(ROOT / "configs").glob("*.py"), ROOT / "README.md"]
    files += [*(ROOT / "docs").rglob("*.md")]
    texts = {str(p): p.read_text(encoding="utf-8") for p in files if p.name not in FORMER_NAMES}
    for path in (ROOT / "colab").glob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        texts[str(path)] = "\n".join("".join(cell["source"]) for cell in cells)
    return texts


@pytest.mark.parametrize("words", BANNED)
def test_private_language_does_not_come_back(words):
    pattern = re.compile(words)
    found = [
        f"{path}:{number}: {line.strip()[:80]}"
        for path, text in _texts().items()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found, f"write instead: {BANNED[words]}"


def _module_files() -> list[Path]:
    return sorted(p for p in PACKAGE.rglob("*.py") if p.relative_to(PACKAGE).parts[0] != "configs")


def _defined(tree: ast.Module) -> set[str]:
    """Names that a module defines at its top level, imports apart."""
    names = set()
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
    return names


def test_every_module_says_what_is_public():
    """By `__all__`, or by defining nothing but names with an underscore."""
    silent = []
    for path in sorted(PACKAGE.rglob("*.py")):
        defined = _defined(ast.parse(path.read_text(encoding="utf-8")))
        if "__all__" not in defined and any(not name.startswith("_") for name in defined):
            silent.append(str(path.relative_to(PACKAGE)))
    assert not [path for path in silent if not path.startswith(("configs", "benchmarks"))]


def test_the_public_surface_exists():
    import vaejax

    assert vaejax.__version__
    assert len(set(vaejax.__all__)) == len(vaejax.__all__)
    for name in vaejax.__all__:
        assert getattr(vaejax, name) is not None
