"""One run in its working directory, from a config to figures: what the command does."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from vaejax import families
from vaejax.data import Source, load
from vaejax.data.preparation import event_shape, facts
from vaejax.data.quadrants import with_quadrants
from vaejax.evaluation.conditional import is_conditional, per_class
from vaejax.evaluation.conditional_pictures import given_by_examples
from vaejax.evaluation.disentanglement import trained
from vaejax.evaluation.evaluate import evaluator
from vaejax.evaluation.future_pictures import draw_futures
from vaejax.evaluation.futures import FUTURES, horizon_errors
from vaejax.evaluation.likelihood import importance_sampled
from vaejax.evaluation.pictures import draw, draw_samples
from vaejax.evaluation.prior_pictures import draw_priors
from vaejax.evaluation.showing import showing
from vaejax.export import check_run, export
from vaejax.first_stage import FirstStage, restore
from vaejax.game import Family, Params
from vaejax.settings import call
from vaejax.training import Settings, Trainer, fit
from vaejax.training.checkpoint import Checkpoints
from vaejax.training.logs import table, write_json
from vaejax.training.optimizers import players
from vaejax.training.sharding import make_mesh, on_one_device
from vaejax.training.state import eval_params, key_of

# What a longer run may change and still be the same run, as far as the shorter one went.
_FREE = ("train.steps", "train.eval_examples", "mesh.", "sample.", "evaluate.")

Config = Mapping[str, Any]


class ConfigChangedError(ValueError):
    """The working directory belongs to a run with another configuration."""


def flatten(config: Config, prefix: str = "") -> dict[str, Any]:
    """`{"train": {"steps": 3}}` -> `{"train.steps": 3}`."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


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


def _claim(workdir: Path, config: Config, *, create: bool) -> None:
    """Makes the working directory this run's own, or sees that it is.

    Raises:
      ConfigChangedError: it is another run's.
      FileNotFoundError: there is no run to look at.
    """
    path = workdir / "config.json"
    wanted = json.loads(json.dumps(config))
    if not path.exists():
        if not create:
            raise FileNotFoundError(f"{workdir} holds no run: train first, with --mode=train")
        if jax.process_index() == 0:
            workdir.mkdir(parents=True, exist_ok=True)
            write_json(path, wanted)
        return
    old, new = flatten(json.loads(path.read_text())), flatten(wanted)
    changed = [
        f"  {name}: {old.get(name, 'absent')!r} -> {new.get(name, 'absent')!r}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name, "absent") != new.get(name, "absent")
        and not (name + ".").startswith(tuple(f if f.endswith(".") else f + "." for f in _FREE))
    ]
    if changed:
        raise ConfigChangedError(
            f"{workdir} belongs to a run with another configuration:\n"
            + "\n".join(changed)
            + "\nChoose another --workdir, or give the same configuration to go on"
        )
    if create and jax.process_index() == 0:
        write_json(path, wanted)


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
    if mode == "export":
        check_run(config)
    mesh, first = make_mesh(**config["mesh"]), None
    if config.get("prior_of"):
        config, first = restore(config, mesh, build=build, load_split=load_split)
    data, train_source = load_split(config, "eval"), load_split(config, "train")
    source = data
    if first:
        source = first.latents(data)
        train_source = first.latents(train_source) if mode == "train" else source
    family = build(config, event_shape(source), facts(train_source))
    train = dict(config["train"])
    eval_examples = train.pop("eval_examples")
    settings: Settings = call(Settings, "train", **train)
    data_options = {"seed": config["seed"], "binarize": config["data"]["binarize"]}
    dropout = config["data"]["condition_dropout"]
    trainer = Trainer(
        family, train_source, settings, mesh=mesh, condition_dropout=dropout, **data_options
    )
    if config["evaluate"]["disentanglement"]:
        trained.check_disentanglement(family, trainer.state_shape.params, source)
    _claim(workdir, config, create=mode == "train")

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
            result |= first.figures(family, params, data, config["seed"])
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
    if source.num_classes and is_conditional(family, params, source):
        result |= per_class(
            family, params, source, mesh, batch_size=settings.batch_size, step=step, **data_options
        )
    if samples := config["evaluate"]["samples"]:
        result["log_likelihood"] = importance_sampled(
            family,
            source,
            params,
            samples=samples,
            examples=config["evaluate"]["examples"],
            batch_size=settings.batch_size,
            mesh=mesh,
            **data_options,
        )
    params = on_one_device(mesh, params)
    if family.model.sequences:
        key, binarize = key_of(config["seed"], FUTURES), config["data"]["binarize"]
        result |= horizon_errors(family.model, params, source, key, binarize=binarize)
    if config["evaluate"]["disentanglement"]:
        key = key_of(config["seed"], trained.DISENTANGLEMENT)
        binarize = config["data"]["binarize"]
        result |= trained.disentanglement(family, params, source, key, binarize=binarize)
    _finish(config, workdir, family, params, source, {"step": step, **result}, first)
    rows: list[tuple[str, Any]] = [(k, v) for k, v in sorted(result.items()) if k != "kl/0"]
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
