"""One run in its working directory, from a config to figures: what the command does."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from vaejax import families
from vaejax.core.game import Family, Params
from vaejax.core.registry import call
from vaejax.core.sharding import make_mesh, on_one_device
from vaejax.data import Source, load
from vaejax.data.preprocess import event_shape, facts
from vaejax.data.quadrants import with_quadrants
from vaejax.evaluation.evaluate import evaluator
from vaejax.evaluation.final_metrics import check_further, further_figures, shown
from vaejax.evaluation.generation.features import Features, load_features
from vaejax.evaluation.two_stage import two_stage_metrics
from vaejax.experiment.workdir import Config, ConfigChangedError, claim, flatten
from vaejax.export.programs import check_run, export
from vaejax.optimizers.build import players
from vaejax.sweeps.grid import sweeps
from vaejax.training import Settings, Trainer, fit
from vaejax.training.checkpoint import Checkpoints
from vaejax.training.logging import table, write_json
from vaejax.training.train_step import eval_params
from vaejax.training.two_stage import FirstStage, restore
from vaejax.visualization.conditional import given_by_examples
from vaejax.visualization.event_renderers import showing
from vaejax.visualization.final_figures import draw_further
from vaejax.visualization.learned_prior import draw_priors
from vaejax.visualization.report import draw, draw_samples
from vaejax.visualization.sequence_prediction import draw_futures

__all__ = [
    "ConfigChangedError",
    "build",
    "features_of",
    "flatten",
    "load_split",
    "run",
    "sources",
    "training",
]


def build(config: Config, shape: tuple[int, ...], facts: Mapping[str, Any] | None = None) -> Family:
    """The family that a config describes, for events of a shape, given facts of the data.

    Raises:
      ValueError: an unknown family, network, loss, player or setting.
    """
    table_of_players = players(config["players"])
    return families.build(config["family"], shape, table_of_players, config["model"], facts or {})


def load_split(config: Config, split: str) -> Source:
    """A split of the config's data."""
    data = config["data"]
    source = load(
        data["source"],
        split,
        image_size=data["image_size"] or None,
        channels=data["channels"] or None,
        holdout=data["holdout"],
    )
    return with_quadrants(source, data["quadrants"])


def sources(config: Config, first: FirstStage | None, mode: str) -> tuple[Source, Source, Source]:
    """The held-out data; what is evaluated on and trained on: these, or their latents."""
    data, train = load_split(config, "eval"), load_split(config, "train")
    if first is None:
        return data, data, train
    latents = first.latents(data)
    return data, latents, first.latents(train) if mode == "train" else latents


def features_of(config: Config, data: Source) -> Features | None:
    """By what the config has samples judged; None if it says nothing of it."""
    if not (asked := config["evaluate"]["features"]):
        return None
    return load_features(asked, event_shape(data), build=build, load_split=load_split)


def training(config: Config) -> tuple[Settings, int]:
    """How to train, and on how many examples to evaluate at checkpoints."""
    train = dict(config["train"])
    examples = train.pop("eval_examples")
    return call(Settings, "train", **train), examples


def _finish(
    config: Config,
    workdir: Path,
    family: Family,
    params: Params,
    source: Source,
    result: Any,
    first: FirstStage | None,
) -> None:
    """Writes `evaluation.json` and the figures."""
    if jax.process_index() == 0:
        write_json(workdir / "evaluation.json", result)
        folder, options = workdir / "figures", {"seed": config["seed"], **config["sample"]}
        draw(
            family,
            params,
            source,
            folder,
            binarize=config["data"]["binarize"],
            metrics=workdir / "metrics.jsonl",
            samples=first is None,
            **options,
        )
        if first:
            draw_priors(first, family, params, source, folder, **options)
        draw_further(folder, result)


def run(config: Config, workdir: Path, mode: str = "train") -> dict[str, float]:
    """Trains (or goes on), evaluates, samples, or exports, in a working directory.

    Args:
      config: as from `configs/`, as nested plain mappings.
      workdir: where everything goes.
      mode: `'train'`, which ends with an evaluation; `'evaluate'`; `'sample'`; or `'export'`, see
        `export`.

    Returns:
      The final figures; `{}` after sampling or exporting, or if a signal ended the training.

    Raises:
      ValueError, FileNotFoundError: something in the config cannot be.
      ConfigChangedError: the directory belongs to another configuration.
    """
    if sweeps(config):
        raise ValueError("the config asks for a sweep: use vaejax.run_sweep.run_sweep")
    config = {k: v for k, v in config.items() if k != "sweep"}
    if mode == "export":
        check_run(config)
    mesh, first = make_mesh(**config["mesh"]), None
    if config.get("prior_of"):
        config, first = restore(config, mesh, build=build, load_split=load_split)
    data, source, train_source = sources(config, first, mode)
    family = build(config, event_shape(source), facts(train_source))
    settings, eval_examples = training(config)
    data_options = {"seed": config["seed"], "binarize": config["data"]["binarize"]}
    dropout = config["data"]["condition_dropout"]
    trainer = Trainer(
        family, train_source, settings, mesh=mesh, condition_dropout=dropout, **data_options
    )
    shapes = trainer.state_shape.params
    if first:  # what is judged in the end is the whole
        check_further(first.whole(family), first.and_prior(shapes), data, config["evaluate"])
    else:
        check_further(family, shapes, source, config["evaluate"])
    features = features_of(config, data) if mode in ("train", "evaluate") else None
    claim(workdir, config, create=mode == "train")

    judge = evaluator(family, source, mesh, batch_size=settings.batch_size, **data_options)

    if mode == "train":
        print(_heading(config, workdir, source, train_source, trainer, mesh), flush=True)
        outcome = fit(
            trainer,
            settings,
            workdir=workdir,
            evaluate=lambda params, step: judge(params, step, eval_examples),
        )
        state = outcome.state
        if outcome.interrupted:
            print(f"Stopped at step {int(state.step)}, saved; the same command goes on from there.")
            return {}
    else:
        checkpoints = Checkpoints(workdir / "checkpoints")
        if checkpoints.latest() is None:
            raise FileNotFoundError(
                f"{workdir} holds no checkpoint: train first, with --mode=train"
            )
        state = checkpoints.restore(trainer.state_shape)
        checkpoints.close()

    params, step = eval_params(state), int(state.step)
    if mode == "export":
        params = on_one_device(mesh, params)
        if jax.process_index() == 0:
            binarize, about = config["data"]["binarize"], {"family": config["family"], "step": step}
            export(family, params, source, workdir / "export", binarize=binarize, **about)
            print(f"Export: {workdir / 'export'}")
        return {}
    result = {} if mode == "sample" else judge(params, step)
    if first:  # from here on it is about the whole
        if mode != "sample":
            result |= two_stage_metrics(first, family, params, data, config["seed"])
        family, params, source = first.whole(family), first.and_prior(params), data
    if mode == "sample":
        folder, params = workdir / "figures", on_one_device(mesh, params)
        if jax.process_index() > 0:
            return {}
        folder.mkdir(exist_ok=True)
        options = {"seed": config["seed"], **config["sample"]}
        path: Path | None
        if family.model.sequences:
            warmth = config["sample"]["temperature"]
            path = draw_futures(family, params, source, folder, temperature=warmth, **data_options)
        elif first:
            draw_priors(first, family, params, source, folder, **options)
            path = folder / "samples.png" if (folder / "samples.png").exists() else None
        else:
            given = given_by_examples(
                family, params, source, config["sample"]["count"], **data_options
            )
            path = draw_samples(
                family, params, folder, given=given, show=showing(source), **options
            )
        print(f"Samples: {path or f'no way is known to show events of {source.name}'}")
        return {}
    result |= further_figures(
        family,
        params,
        source,
        mesh,
        config["evaluate"],
        step=step,
        batch_size=settings.batch_size,
        features=features,
        **data_options,
    )
    params = on_one_device(mesh, params)
    _finish(config, workdir, family, params, source, {"step": step, **result}, first)
    rows: list[tuple[str, Any]] = [(k, v) for k, v in sorted(result.items()) if shown(k)]
    if mode == "train":
        rows.append(("steps a second", outcome.rate))
    print(table(f"{config['family']} on {config['data']['source']}, step {step}", rows))
    print(f"Figures: {workdir / 'figures'}")
    return result


def _heading(
    config: Config, workdir: Path, held_out: Source, train: Source, trainer: Trainer, mesh: Any
) -> str:
    leaves = jax.tree.leaves(trainer.state_shape.params)
    device = mesh.devices.flat[0]
    rows = [
        ("examples", f"{train.size:,} to train on, {held_out.size:,} to evaluate on"),
        ("parameters", f"{sum(leaf.size for leaf in leaves):,}"),
        ("devices", f"{mesh.size} × {device.device_kind} ({device.platform})"),
        ("working directory", str(workdir)),
    ]
    return table(f"{config['family']} on {config['data']['source']}", rows)
