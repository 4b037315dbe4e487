"""Trains, evaluates, samples from, encodes with and exports a variational autoencoder.

  python -m vaejax.main --config=configs/vqvae.py --workdir=runs/vqvae
  python -m vaejax.main --config=configs/beta_vae.py:mnist --workdir=runs/mnist \
      --config.players.vae.minimizes.kl=4.0

Print all fields of a config with their values, in the form in which flags set them:

  python -m vaejax.main --config=configs/vqvae.py --show_config

Apply a trained run to other data, without changing the run:

  python -m vaejax.main --config=configs/vqvae.py --workdir=runs/vqvae --mode=encode \
      --data=npz:new.npz --output=results

The part after the colon picks one of a config's settings, which the file's docstring lists.
Re-running the command resumes an unfinished run from its last checkpoint. Exit codes: 0 for a run
that is complete, 2 for an error (one line on stderr), 143 after SIGTERM and 130 after Ctrl-C.
"""

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import jax
from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from vaejax.core.paths import as_path
from vaejax.core.plugins import load_file
from vaejax.core.registry import files_that_registered, near_names
from vaejax.data.row_storage import cache_dir
from vaejax.experiment.check_config import import_and_check
from vaejax.experiment.messages import message_of
from vaejax.experiment.run import run
from vaejax.experiment.run_sweep import run_sweep
from vaejax.experiment.show_config import check_flag, shown_fields
from vaejax.experiment.stock_configs import stock_configs
from vaejax.experiment.target import SPLITS, Target
from vaejax.experiment.workdir import check_is_ours
from vaejax.export.hub import Repository
from vaejax.sweeps.grid import is_sweep
from vaejax.training.cluster import join, log_to_file
from vaejax.training.interruption import StoppedError, finish, install
from vaejax.training.lost_process import lost_process
from vaejax.training.uploaded_log import upload_logs

__all__ = ["main"]

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "A file of configs/, with :SETTING if it has several.", lock_config=True
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where checkpoints, records and figures go.")
_MODE = flags.DEFINE_enum(
    "mode", "train", ["train", "evaluate", "sample", "encode", "export"], "What to do."
)
_SPLIT = flags.DEFINE_enum(
    "split", "eval", list(SPLITS), "The split to evaluate, encode or sample for; all: to encode."
)
_DATA = flags.DEFINE_string(
    "data", "", "Other data to evaluate, encode or sample for, as in data.source."
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "Where the result goes, if not to --workdir; not of a training."
)
_RECONSTRUCTIONS = flags.DEFINE_bool(
    "reconstructions", False, "Whether --mode=encode also writes reconstructions."
)
_DISTRIBUTED = flags.DEFINE_enum(
    "distributed", "auto", ["auto", "off"], "Whether to join the processes of a launcher, if any."
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator_address", None, "Of a run in several processes: HOST:PORT of process 0."
)
_PROCESSES = flags.DEFINE_integer("num_processes", None, "Of a run in several processes: how many.")
_PROCESS = flags.DEFINE_integer("process_id", None, "Number of this process, from 0 on.")
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint",
    "auto",
    "Of the model that is evaluated, sampled from, ...: best, latest or a step; auto: the best if "
    "there is a validation split, else the latest.",
)
_ALLOW_CHANGE = flags.DEFINE_list(
    "allow_change",
    [],
    "Fields of players and train with whose new values a trained run goes on, as in "
    "players.vae.learning_rate,train.patience.",
)
_HUB = flags.DEFINE_string(
    "hub", None, "With --mode=export: a repository of the Hugging Face Hub to upload to."
)
_HUB_PRIVATE = flags.DEFINE_bool("hub_private", False, "Whether --hub creates it as private.")
_OF_MODES = ("mode", "split", "checkpoint", "hub", "hub_private", "verbosity")
_SHOW = flags.DEFINE_bool(
    "show_config",
    False,
    "Print the config's fields as flags, and stop.",
)


def _find(path: str) -> Path:
    """A config file. A bare `configs/NAME.py` that is not here is the one of the library.

    Raises:
      ValueError: there is no such file.
    """
    file = Path(path)
    if file.is_file():
        return file
    folder = stock_configs()
    if str(file.parent) in ("configs", ".") and (folder / file.name).is_file():
        return folder / file.name
    known = [f"configs/{p.name}" for p in folder.glob("[a-z]*.py")]
    raise ValueError(f"no config file {near_names(path, known)}")


def _fields(file: Path, setting: str) -> ConfigDict:
    """The config of a file's setting, the default one if `''`."""
    try:
        module = load_file(file)
        if not callable(getattr(module, "get_config", None)):
            raise ValueError(f"{file} has no function get_config, which returns a ConfigDict")
        config = module.get_config(setting) if setting else module.get_config()
    except (ValueError, OSError, ImportError):
        raise
    except Exception as error:
        raise ValueError(f"{file} fails: {type(error).__name__}: {error}") from error
    if not isinstance(config, ConfigDict):
        raise ValueError(f"get_config of {file} must return a ConfigDict, found {type(config)}")
    return config


def _checked(argv: Sequence[str]) -> list[str]:
    """The command line with the path of its config file resolved and its config flags checked.

    `config_flags` answers a mistake in these with a traceback.

    Raises:
      ValueError: there is no such file, setting or field.
    """
    checked: list[str] = []
    config = None
    for argument in argv:
        if checked and checked[-1].lstrip("-") == "config":  # --config FILE
            argument = f"{checked.pop()}={argument}"
        flag, equals, value = argument.partition("=")
        name = flag.lstrip("-")
        if flag != name and name == "config" and equals:
            path, colon, setting = value.partition(":")
            file = _find(path)
            config = _fields(file, setting)
            argument = f"{flag}={file}{colon}{setting}"
        elif flag != name and name.removeprefix("no").startswith("config."):
            if config is None:
                raise ValueError(f"{flag} comes before --config=FILE, or without it")
            check_flag(config, name.removeprefix("no"), value if equals else None)
        checked.append(argument)
    return checked


def _parse(argv: Sequence[str]) -> list[str]:
    """Parses flags; every mistake ends in one line on stderr."""
    try:
        return flags.FLAGS(_checked(argv))
    except flags.Error as error:
        _fail(ValueError(str(error)))
    except Exception as error:
        if os.environ.get("VAEJAX_TRACEBACK"):
            raise
        _fail(error)


def _fail(error: BaseException) -> NoReturn:
    if not jax.distributed.is_initialized():
        print(f"error: {message_of(error)}", file=sys.stderr)
        sys.exit(2)
    number = jax.process_index()
    who = f"process {number}: " if number else ""
    print(f"{who}error: {lost_process(error) or message_of(error)}", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    upload_logs()
    os._exit(2)  # an orderly end would wait for the others


def _training_command(argv: Sequence[str]) -> str:
    """The command that trains the run, whatever its mode is now."""
    kept, skipped = [], False
    for part in argv[1:]:
        flag, equals, _ = part.partition("=")
        if not skipped and flag.lstrip("-") not in _OF_MODES:
            kept.append(part)
        # The value of `--mode VALUE` is the next part.
        skipped = flag.lstrip("-") in _OF_MODES and not equals and flag != "--hub_private"
    return shlex.join(["python", "-m", "vaejax.main", *kept])


def main(argv: Sequence[str]) -> None:
    """The command."""
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)  # libraries log every file they write
    if len(argv) > 1:
        _fail(ValueError(f"unexpected arguments {argv[1:]}; flags are --name=value"))
    if _CONFIG.value is None:
        _fail(ValueError("--config is missing, for example --config=configs/vqvae.py"))
    config = _CONFIG.value.to_dict()
    file = Path(config_flags.get_config_filename(flags.FLAGS["config"])).resolve()
    if file in files_that_registered():
        config["imports"] = (*config["imports"], str(file))
    if _SHOW.value:
        print("\n".join(shown_fields(config, helps=sys.stdout.isatty())))
        return
    workdir = _WORKDIR.value
    if not workdir:
        _fail(ValueError("--workdir is missing, for example --workdir=runs/first"))
    try:
        join(_COORDINATOR.value, _PROCESSES.value, _PROCESS.value, distributed=_DISTRIBUTED.value)
        import_and_check(config)
        if jax.distributed.is_initialized():
            check_is_ours(as_path(workdir))
            log_to_file(as_path(workdir))
        start = run_sweep if is_sweep(config) else run
        output = as_path(_OUTPUT.value) if _OUTPUT.value else None
        start(
            config,
            as_path(workdir),
            _MODE.value,
            target=Target(_SPLIT.value, _DATA.value, output, _RECONSTRUCTIONS.value),
            checkpoint=_CHECKPOINT.value,
            allow_change=tuple(_ALLOW_CHANGE.value),
            repository=Repository(_HUB.value, _HUB_PRIVATE.value) if _HUB.value else None,
            command=_training_command(sys.argv),
        )
    except StoppedError as stopped:
        print(stopped, flush=True)
        sys.exit(128 + stopped.signal)
    except Exception as error:
        if os.environ.get("VAEJAX_TRACEBACK"):  # to debug the library itself
            raise
        _fail(error)


if __name__ == "__main__":
    install(lambda: "; the same command resumes from the last checkpoint, if there is one")
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        # Compiled programs are kept between runs: the second start of a config takes seconds.
        jax.config.update("jax_compilation_cache_dir", str(cache_dir() / "xla"))
        # Also those that take less than JAX's one second: they add up.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.05)
    try:
        app.run(main, flags_parser=_parse)
    finally:
        finish()
