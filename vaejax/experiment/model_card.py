"""`model_card.md`: what was trained on what, in Markdown with the YAML header of the Hub."""

import json
import platform
import time
from collections.abc import Mapping
from importlib import metadata

import jax

import vaejax
from vaejax.core.files import write_text
from vaejax.core.paths import absolute
from vaejax.core.types import Setting
from vaejax.evaluation.metric import in_summary
from vaejax.experiment.declared_fields import declared_fields
from vaejax.experiment.experiment import Trained
from vaejax.experiment.workdir import Config, flatten

__all__ = ["FILE", "metric_unit", "model_card", "write_model_card"]

FILE = "model_card.md"
_PACKAGES = ("jax", "flax", "optax")
_NATS = ("nll", "kl", "elbo", "log_likelihood", "vq", "tc", "mi")
_UNITS = {
    "bits_per_dim": "bits per dimension",
    "bits_per_code": "bits per code",
    "nll_codes": "nats per example",
    "elbo_gain": "nats per example",
    "mse": "squared error per value",
    "perplexity": "codes",
    "codes_used": "fraction of all codes",
    "active_units": "dimensions",
    "skipped": "steps",
}
_FREE = ("model.", "players.", "second_stage.model.", "second_stage.players.")
_ELSEWHERE = ("imports", "family", "seed", "log.", "mesh.", "sample.", "evaluate.", "version")


def metric_unit(name: str) -> str:
    """The unit of a metric, `''` for numbers without one.

    Args:
      name: as in `evaluation.json`, also with a part before or after a slash.
    """
    for part in (name, name.partition("/")[0], name.rpartition("/")[2]):
        if part in _UNITS:
            return _UNITS[part]
        if part in _NATS:
            return "nats per example"
    return ""


def _given_fields(config: Config) -> dict[str, Setting]:
    """The fields that differ from their defaults; all of models and players, which have none."""
    declared = declared_fields()
    return {
        name: value
        for name, value in flatten(config).items()
        if not name.startswith(_ELSEWHERE)
        and (name.startswith(_FREE) or name not in declared or value != declared[name].default)
    }


def _table(head: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in row) + " |" for row in lines)


def model_card(
    run: Trained,
    second: Trained | None,
    metrics: Mapping[str, float],
    *,
    command: str = "",
    date: str = "",
) -> str:
    """The text of a model card. It states only what is known.

    Args:
      run: the run.
      second: its second stage, if it has one.
      metrics: of the evaluation.
      command: that trained it; `''` if it was trained from Python.
      date: of the evaluation.
    """
    experiment, config = run.experiment, run.experiment.config
    name, source = absolute(experiment.workdir).name, config["data"]["source"]
    shown = {k: v for k, v in sorted(metrics.items()) if in_summary(k)}
    header = {
        "library_name": "vaejax",
        "tags": ["vae", "jax", config["family"]],
        "metrics": [k for k in shown if "/" not in k],
    }
    yaml = "\n".join(f"{k}: {json.dumps(v)}" for k, v in header.items())
    sizes = _sizes(run, second)
    versions = [("vaejax", vaejax.__version__)]
    versions += [(package, metadata.version(package)) for package in _PACKAGES]
    versions += [("Python", platform.python_version())]
    device = experiment.mesh.devices.flat[0]
    sections = {
        "Training": _table(
            ("", ""), [*sizes, ("seed", config["seed"]), ("devices", f"{experiment.mesh.size} × "
             f"{device.device_kind} ({device.platform})"), *([("evaluated", date)] if date else [])]
        ),
        "Settings": "Fields of the configuration that differ from their defaults, and all of the "
        "model and the players:\n\n"
        + _table(("field", "value"), [(f"`{k}`", f"`{v!r}`") for k, v in
                                     _given_fields(config).items()]),
        "Metrics": f"Of the {experiment.data.size:,} examples of the evaluation split "
        "([definitions](https://vaejax.github.io/vaejax/metrics/)):\n\n"
        + _table(("metric", "value", "unit"),
                 [(f"`{k}`", f"{v:.6g}", metric_unit(k)) for k, v in shown.items()]),
        "Command": f"```sh\n{command}\n```" if command else "",
        "Versions": _table(("package", "version"), list(versions)),
        "Use": "With the files of the working directory:\n\n```python\nimport vaejax\n\n"
        f'run = vaejax.load_run("{name}")\nsamples = run.sample(16)\n```',
    }  # fmt: skip
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items() if text)
    intro = (
        f"A model of the family `{config['family']}`, trained on `{source}` by "
        "[vaejax](https://github.com/vaejax/vaejax)."
    )
    return f"---\n{yaml}\n---\n\n# {name}\n\n{intro}\n\n{body}\n"


def _sizes(run: Trained, second: Trained | None) -> list[tuple[object, ...]]:
    """Data, parameters and checkpoints."""
    experiment = run.experiment
    rows: list[tuple[object, ...]] = [
        ("data", f"`{experiment.config['data']['source']}`"),
        ("training examples", f"{experiment.train_source.size:,}"),
    ]
    if first := experiment.config.get("first_stage"):
        rows.append(("first stage", f"`{first}`, step {experiment.config['first_stage_step']}"))
    for title, part in (("", run), ("second stage: ", second)):
        if part is None:
            continue
        count = sum(leaf.size for leaf in jax.tree.leaves(part.state.params))
        family = part.experiment.config["family"]
        steps = f"step {int(part.state.step):,}"
        rows.append((f"{title}model", f"`{family}`, {count:,} parameters, checkpoint of {steps}"))
    return rows


def write_model_card(
    run: Trained, second: Trained | None, metrics: Mapping[str, float], command: str = ""
) -> None:
    """Writes `model_card.md` into a run's working directory, see `model_card`."""
    date = time.strftime("%Y-%m-%d", time.gmtime())
    text = model_card(run, second, metrics, command=command, date=date)
    write_text(run.experiment.workdir / FILE, text)
