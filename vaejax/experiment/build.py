"""From a config to the family, the data and the training settings that it describes."""

from vaejax import families
from vaejax.core.game import Family
from vaejax.core.registry import call
from vaejax.core.types import Options
from vaejax.data import Source, load
from vaejax.data.augment import Augmentation
from vaejax.data.columns import TableForm
from vaejax.data.labels import with_labels
from vaejax.data.load_options import DEFAULT_MAX_BYTES, LoadOptions
from vaejax.data.preprocess import event_shape
from vaejax.data.quadrants import with_quadrants
from vaejax.data.source import DEFAULT_RESIDENT_BYTES
from vaejax.data.validation import resolve_validation
from vaejax.evaluation.generation.features import FeatureExtractor, load_feature_extractor
from vaejax.evaluation.options import AnnealingOptions, EvaluateOptions
from vaejax.experiment.perceptual_features import with_perceptual_features
from vaejax.models.standardized import standardized
from vaejax.optimizers.build import players
from vaejax.training import Settings
from vaejax.training.two_stage import FirstStage

__all__ = [
    "OF_TABLES",
    "augmentation",
    "build",
    "evaluate_options",
    "feature_extractor_of",
    "has_validation",
    "load_split",
    "names_in",
    "sources",
    "training_settings",
    "validation_source",
    "with_validation",
]

Config = Options

OF_TABLES = ("label", "condition", "categories", "drop", "layer")


def build(config: Config, shape: tuple[int, ...], dataset_info: Options | None = None) -> Family:
    """The family that a config describes.

    Args:
      config: as nested plain mappings.
      shape: of one event.
      dataset_info: as from `preprocess.dataset_info`.

    Raises:
      ValueError: an unknown family, network, loss, player or setting.
      FileNotFoundError: the features of `model.perceptual` do not exist.
    """
    table, info = players(_players(config)), dataset_info or {}
    model = with_perceptual_features(config["model"], shape, build=build, load_split=load_split)
    family = families.build(config["family"], shape, table, model, info)
    if not config.get("data", {}).get("standardize") or not info.get("standardization"):
        return family
    units = info["standardization"]
    return family._replace(model=standardized(family.model, units, info["batch_shapes"]))


def augmentation(config: Config) -> Augmentation:
    """The section `data.augment`, checked."""
    section = config["data"].get("augment", {})
    augment: Augmentation = call(Augmentation, "data.augment", **section)
    return augment


def _players(config: Config) -> Options:
    """The section `players`, with a player of the groups of `freeze_groups`."""
    frozen = names_in(config.get("freeze_groups", ""))
    row = {"owns": frozen, "optimizer": "freeze"}
    return {**config["players"], **({"frozen": row} if frozen else {})}


def names_in(text: str) -> tuple[str, ...]:
    """The names in a text such as `"encoder, decoder"`."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def load_split(config: Config, split: str, form: TableForm | None = None) -> Source:
    """A split of the config's data: `'train'`, `'eval'` or `'validation'`.

    Args:
      config: of the run.
      split: its name.
      form: of the table that a trained run was trained on, see `data.load`.
    """
    data = config["data"]
    of_tables = {name: data.get(name, "") for name in OF_TABLES}
    source = load(
        data["source"],
        split,
        image_size=data["image_size"] or None,
        channels=data["channels"] or None,
        holdout=data["holdout"],
        max_bytes=data.get("max_bytes", DEFAULT_MAX_BYTES),
        background=data.get("background", "white"),
        strict=data.get("strict", False),
        validation=data.get("validation", "none"),
        length=data.get("length", 0),
        missing=data.get("missing", "refuse"),
        max_resident_bytes=data.get("max_resident_bytes", DEFAULT_RESIDENT_BYTES),
        workers=data.get("workers", -1),
        sample_rate=data.get("sample_rate") or None,
        form=form,
        **of_tables,
    )
    if split == "train":
        labels, per_batch = data.get("labels", 0), data.get("labelled_per_batch", 0)
        source = with_labels(source, labels, per_batch, seed=config.get("seed", 0))
    return with_quadrants(source, data["observed_quadrants"])


def with_validation(config: Config) -> Config:
    """The config with the name of the data's validation split in place of `'auto'`.

    Raises:
      ValueError: `data.validation` names no split of the data.
    """
    data = config["data"]
    found = resolve_validation(
        data["source"], data.get("validation", "none"), LoadOptions(data["source"])
    )
    return {**config, "data": {**data, "validation": found}}


def has_validation(config: Config) -> bool:
    """Whether a run has a validation split; of a config from `with_validation`."""
    return bool(config["data"].get("validation", "none") != "none")


def validation_source(config: Config, first: FirstStage | None) -> Source | None:
    """The validation split of what is trained: of the data, or of the first stage's latents.

    Args:
      config: from `with_validation`.
      first: as for `sources`.

    Returns:
      None if there is no such split.
    """
    if not has_validation(config):
        return None
    data = load_split(config, "validation")
    return data if first is None else first.latents(data)


def sources(config: Config, first: FirstStage | None, mode: str) -> tuple[Source, Source, Source]:
    """Held-out data; the evaluation and the training split: these, or their latents.

    Args:
      config: of the run.
      first: the first stage of a run that learns a prior of its latents, else None.
      mode: only `'train'` encodes the training split.
    """
    data, train = load_split(config, "eval"), load_split(config, "train")
    if first is None:
        return data, data, train
    latents = first.latents(data)
    return data, latents, first.latents(train) if mode == "train" else latents


def feature_extractor_of(config: Config, data: Source) -> FeatureExtractor | None:
    """The feature extractor for sample quality; None if the config names none."""
    if not (setting := config["evaluate"]["feature_extractor"]):
        return None
    return load_feature_extractor(setting, event_shape(data), build=build, load_split=load_split)


def evaluate_options(config: Config) -> EvaluateOptions:
    """The section `evaluate` without `figures`, checked."""
    evaluate = {k: v for k, v in dict(config["evaluate"]).items() if k != "figures"}
    annealing = call(AnnealingOptions, "evaluate.annealing", **evaluate.pop("annealing"))
    options: EvaluateOptions = call(EvaluateOptions, "evaluate", annealing=annealing, **evaluate)
    return options


def training_settings(config: Config) -> tuple[Settings, int]:
    """The training settings, and the number of examples that are evaluated at checkpoints."""
    train = dict(config["train"])
    examples = train.pop("eval_examples")
    return call(Settings, "train", **train), examples
