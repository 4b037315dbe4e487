"""The sections that every config has, each field declared once.

`training.Settings` and `evaluation.options` declare the sections of training and evaluation; the
sections `model` and `players` hold the options of functions, see `check_options`. The checks of the
fields are in `declared_fields`.
"""

import dataclasses

from vaejax.core.fields import field
from vaejax.core.types import Options
from vaejax.data.augment import Augmentation
from vaejax.data.load_options import DEFAULT_MAX_BYTES
from vaejax.data.preprocess import BINARIZATIONS
from vaejax.data.source import DEFAULT_RESIDENT_BYTES
from vaejax.evaluation.options import EvaluateOptions
from vaejax.experiment.table_fields import TableFields
from vaejax.training import Settings
from vaejax.training.trackers import LogFields

__all__ = [
    "ConfigFields",
    "DataFields",
    "EvaluateFields",
    "MeshFields",
    "SampleFields",
    "SecondStageFields",
    "SweepFields",
    "TrainFields",
]

_MEMORY = "more would not fit into memory"


@dataclasses.dataclass(frozen=True)
class DataFields(TableFields):
    """What is trained and evaluated on."""

    source: str = field("sprites:small", "sprites, tfds:NAME, folder:PATH, csv:PATH, ...")
    image_size: int = field(
        0, "resize and crop images to this many pixels; 0: as stored", low=0, high=16_384,
        reason=_MEMORY,
    )  # fmt: skip
    channels: int = field(0, "convert images to 1 or 3 channels; 0: as stored", choices=(0, 1, 3))
    sample_rate: int = field(0, "of sound, per second; 0: as stored", low=0, high=10**7)
    holdout: float = field(
        0.1, "fraction to evaluate on, if the data has no splits of its own", low=0, high=1,
        below=True,
    )  # fmt: skip
    validation: str = field(
        "auto",
        "split for selection: 'auto', that of the data; 'none'; a fraction of train, '0.1'; a name",
    )
    max_bytes: int = field(
        DEFAULT_MAX_BYTES,
        "of the arrays of an npz file, or of one image, in memory; larger ones are refused",
        low=1,
    )
    background: str = field(
        "white", "behind transparent pixels of image files", choices=("white", "black")
    )
    strict: bool = field(False, "refuse folders with unreadable files, rather than skip these")
    length: int = field(
        0, "sequences and tokens are padded to it, sound is cut into it; 0: as stored", low=0,
        high=65_536, reason=_MEMORY,
    )  # fmt: skip
    missing: str = field(
        "refuse", "what to do with missing values (NaN) of tables", choices=("refuse", "mask")
    )
    max_resident_bytes: int = field(
        DEFAULT_RESIDENT_BYTES, "of decoded data in memory; larger data are read as needed", low=1
    )
    workers: int = field(-1, "processes that read these; 0: threads; -1: either", low=-1, high=1024)
    standardize: bool = field(
        True, "tables and signals with mean 0 and deviation 1 in each column, if of real numbers"
    )
    binarize: str = field("none", "of images", choices=tuple(BINARIZATIONS))
    observed_quadrants: int = field(
        0, "quadrants of an image that condition the model; 0: off", low=0, high=3
    )
    labels: int = field(
        0, "labels that are kept in training, balanced over the classes; 0: all", low=0
    )
    labelled_per_batch: int = field(
        0, "examples with a label in every training batch; 0: as they come", low=0
    )
    condition_dropout: float = field(
        0.0, "fraction of training examples that lose their condition", low=0, high=1
    )
    augment: Augmentation = dataclasses.field(default_factory=Augmentation)


@dataclasses.dataclass(frozen=True)
class TrainFields(Settings):
    """The length of training, and the steps at which it logs and saves."""

    eval_examples: int = field(
        2000, "examples evaluated at a checkpoint, the final evaluation takes all; 0: all", low=0
    )


@dataclasses.dataclass(frozen=True)
class EvaluateFields(EvaluateOptions):
    """Which metrics are computed after training, in addition to those of every checkpoint."""

    figures: bool = field(True, "draw figures after an evaluation")


@dataclasses.dataclass(frozen=True)
class MeshFields:
    """The devices."""

    data: int = field(-1, "devices that batches are split over; -1: all remaining", low=-1)
    fsdp: int = field(1, "devices that parameters are split over", low=1)
    tensor: int = field(1, "devices that codebooks and large layers are split over", low=1)
    rules: str = field("", "sharding by path: PATTERN=AXIS,AXIS,...; several separated by ;")


@dataclasses.dataclass(frozen=True)
class SampleFields:
    """Samples that figures show; `top_k` and `top_p` are of priors over codes alone."""

    count: int = field(64, "number of samples", low=1, high=65_536, reason=_MEMORY)
    temperature: float = field(1.0, "scale of the prior's noise", low=0, high=1e6)
    top_k: int = field(0, "of priors over codes: only the likeliest codes; 0: all", low=0)
    top_p: float = field(
        1.0, "of priors over codes: only the likeliest codes of this probability", low=0, high=1
    )


@dataclasses.dataclass(frozen=True)
class SweepFields:
    """Many models trained in one program."""

    grid: str = field(
        "", 'values of fields of model and players, as in "players.vae.minimizes.kl=1,4"'
    )
    seeds: int = field(1, "models per combination, with seeds from `seed` on", low=1, high=65_536)
    chunk: int = field(0, "models at once on a device; 0: chosen by their size", low=0)
    index: int = field(-1, "a model of a trained sweep to make a run of its own", low=-1)
    metrics: str = field("", 'of table and figure, as in "elbo,mse"; empty: the usual ones')


@dataclasses.dataclass(frozen=True)
class SecondStageFields:
    """A prior over the latents, trained in the same run after the model."""

    family: str = field("", "code_prior, gaussian_mixture or a registered one; empty: no prior")
    condition_dropout: float = field(
        0.0, "fraction of the prior's training examples that lose their class", low=0, high=1
    )
    model: Options = dataclasses.field(default_factory=dict)
    players: Options = dataclasses.field(default_factory=dict)
    train: TrainFields = dataclasses.field(default_factory=TrainFields)


@dataclasses.dataclass(frozen=True)
class ConfigFields:
    """A config: fields and sections."""

    seed: int = field(0, "of everything random", low=0, high=2**31 - 1)
    family: str = field("", "what is trained, one of `vaejax.families`")
    imports: tuple[str, ...] = field(
        (), "modules and .py files that register families, networks, data, ..."
    )
    init_from: str = field(
        "", "start from a trained run's workdir, a .safetensors file, or a checkpoint of diffusers"
    )
    init_groups: str = field("", 'only from these groups of it, "encoder,decoder"; empty: all')
    freeze_groups: str = field("", 'groups that training does not change, as in "encoder"')
    data: DataFields = dataclasses.field(default_factory=DataFields)
    model: Options = dataclasses.field(default_factory=dict)
    players: Options = dataclasses.field(default_factory=dict)
    train: TrainFields = dataclasses.field(default_factory=TrainFields)
    mesh: MeshFields = dataclasses.field(default_factory=MeshFields)
    evaluate: EvaluateFields = dataclasses.field(default_factory=EvaluateFields)
    log: LogFields = dataclasses.field(default_factory=LogFields)
    sample: SampleFields = dataclasses.field(default_factory=SampleFields)
    sweep: SweepFields = dataclasses.field(default_factory=SweepFields)
    second_stage: SecondStageFields = dataclasses.field(default_factory=SecondStageFields)
    first_stage: str = field("", "of second stages: the working directory of a trained run")
    first_stage_step: int = field(0, "its checkpoint; 0: the one that is used by default", low=0)
