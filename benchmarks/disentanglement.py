"""Disentanglement metrics of vaejax and of the published implementation on the same fixed codes.

  python -m benchmarks.disentanglement

Reads `results/published_metrics.json`. Writes `results/disentanglement.json` and, in a checkout,
the table between the marks of `docs/metrics.md`.
"""

import json
import re
from typing import Any

import jax
import numpy as np
from absl import app

from vaejax.evaluation import disentanglement as metrics

from . import fixed_codes
from .machine import machine
from .paths import result_path, root, write_json

__all__ = ["PAGE", "PUBLISHED", "RESULT", "insert_table", "main", "metrics_of_case", "table"]

PUBLISHED = result_path("published_metrics.json")
RESULT = result_path("disentanglement.json")
_CHECKOUT = root()
PAGE = _CHECKOUT and _CHECKOUT / "docs/metrics.md"  # with the table; None if installed
_TRAIN = fixed_codes.TRAIN


def metrics_of_case(case: str) -> dict[str, float]:
    """The metrics of vaejax on one case, with the names of the published results."""
    z, y, key = fixed_codes.codes(case), fixed_codes.factors(), jax.random.key(0)
    train = z[:_TRAIN], y[:_TRAIN]
    trees = metrics.dci(z, y, train=_TRAIN)
    values = {
        "mig": metrics.mig(*train)["mig"],
        "factor_vae_score": metrics.factor_vae_score_of_codes(z, y, key)["factor_vae_score"],
        "beta_vae_score": metrics.beta_vae_score_of_codes(z, y, key)["beta_vae_score"],
        **{f"dci/{k}": trees[k] for k in ("disentanglement", "completeness", "informativeness")},
        "sap": metrics.sap(z, y, train=_TRAIN)["sap"],
        "sap/continuous": metrics.sap(z, y, train=_TRAIN, continuous=True)["sap"],
        "modularity": metrics.modularity(*train)["modularity"],
        "explicitness": metrics.explicitness(z, y, train=_TRAIN)["explicitness"],
        "irs": metrics.irs(*train)["irs"],
    }
    return {name: float(value) for name, value in values.items()}


def table(ours: dict[str, Any], published: dict[str, Any]) -> str:
    """A Markdown table: a row per metric, a column per case, "ours / published" in a cell."""
    cases = list(ours["cases"])
    lines = [f"| ours / published | {' | '.join(cases)} |", "|---" * (len(cases) + 1) + "|"]

    def cell(our_value: float, published_value: float) -> str:
        return f"{our_value:.4f} / {published_value:.4f}"

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


def insert_table(page: str, lines: str) -> str:
    """The page with these lines between its marks."""
    marks = re.compile(r"(<!-- table -->\n).*(\n<!-- /table -->)", re.DOTALL)
    return marks.sub(lambda match: match[1] + lines + match[2], page)


def main(argv: list[str]) -> None:
    """Computes, prints and writes."""
    del argv
    published = json.loads(PUBLISHED.read_text())
    codes, kl = fixed_codes.models()
    ours = {
        "machine": machine(),
        "cases": {case: metrics_of_case(case) for case in fixed_codes.CASES},
        "udr": {
            name: np.asarray(metrics.udr(codes, kl, correlation=name)["udr"], float).tolist()
            for name in published["udr"]
        },
    }
    write_json(RESULT, ours)
    print(table(ours, published))
    if PAGE:
        PAGE.write_text(insert_table(PAGE.read_text(), table(ours, published)))


if __name__ == "__main__":
    app.run(main)
