"""Our metrics beside the published implementation's, on the same fixed codes.

  python -m benchmarks.disentanglement

Writes `results/disentanglement.json` and the table of `docs/metrics.md`, between its marks.
"""

import json
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import app

from benchmarks import fixed_codes
from benchmarks.machine import machine
from vaejax.evaluation import disentanglement as metrics

_ROOT = Path(__file__).parent
PUBLISHED = _ROOT / "results/published_metrics.json"
RESULT = _ROOT / "results/disentanglement.json"
PAGE = _ROOT.parent / "docs/metrics.md"
_TRAIN = fixed_codes.TRAIN


def of_case(case: str) -> dict[str, float]:
    """Our metrics of one case, by the names that the published figures have."""
    z, y, key = fixed_codes.codes(case), fixed_codes.factors(), jax.random.key(0)
    seen = z[:_TRAIN], y[:_TRAIN]
    trees = metrics.dci(z, y, train=_TRAIN)
    found = {
        "mig": metrics.mig(*seen)["mig"],
        "factor_vae_score": metrics.factor_vae_score_of_codes(z, y, key)["factor_vae_score"],
        "beta_vae_score": metrics.beta_vae_score_of_codes(z, y, key)["beta_vae_score"],
        **{f"dci/{k}": trees[k] for k in ("disentanglement", "completeness", "informativeness")},
        "sap": metrics.sap(z, y, train=_TRAIN)["sap"],
        "sap/continuous": metrics.sap(z, y, train=_TRAIN, continuous=True)["sap"],
        "modularity": metrics.modularity(*seen)["modularity"],
        "explicitness": metrics.explicitness(z, y, train=_TRAIN)["explicitness"],
        "irs": metrics.irs(*seen)["irs"],
    }
    return {name: float(value) for name, value in found.items()}


def table(ours: dict[str, Any], published: dict[str, Any]) -> str:
    """Markdown: a row a metric, a column a case, "ours / published" in a cell."""
    cases = list(ours["cases"])
    lines = [f"| ours / published | {' | '.join(cases)} |", "|---" * (len(cases) + 1) + "|"]

    def cell(one: float, other: float) -> str:
        return f"{one:.4f} / {other:.4f}"

    for name in ours["cases"][cases[0]]:
        cells = [cell(ours["cases"][c][name], published["cases"][c][name]) for c in cases]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    models = len(ours["udr"]["lasso"])
    names = " | ".join(f"model {i}" for i in range(models))
    lines += ["", f"| ours / published | {names} |", "|---" * (models + 1) + "|"]
    for name, scores in ours["udr"].items():
        pairs = zip(scores, published["udr"][name]["udr"], strict=True)
        lines.append(f"| udr, {name} | {' | '.join(cell(*pair) for pair in pairs)} |")
    return "\n".join(lines)


def with_table(page: str, lines: str) -> str:
    """The page with these lines between its marks."""
    marked = re.compile(r"(<!-- table -->\n).*(\n<!-- /table -->)", re.DOTALL)
    return marked.sub(lambda found: found[1] + lines + found[2], page)


def main(argv: list[str]) -> None:
    """Measures and writes."""
    del argv
    published = json.loads(PUBLISHED.read_text())
    codes, kl = fixed_codes.models()
    ours = {
        "machine": machine(),
        "cases": {case: of_case(case) for case in fixed_codes.CASES},
        "udr": {
            name: np.asarray(metrics.udr(codes, kl, correlation=name)["udr"], float).tolist()
            for name in published["udr"]
        },
    }
    RESULT.write_text(json.dumps(ours, indent=2) + "\n")
    PAGE.write_text(with_table(PAGE.read_text(), table(ours, published)))


if __name__ == "__main__":
    app.run(main)
