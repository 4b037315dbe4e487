"""Trains, evaluates, samples from and exports a variational autoencoder.

  python -m vaejax.main --config=configs/vqvae.py --workdir=runs/vqvae
  python -m vaejax.main --config=configs/beta_vae.py:mnist --workdir=runs/mnist \
      --config.players.vae.minimizes.kl=4.0

A config's fields and their values, each of which can be set from the command line as shown:

  python -m vaejax.main --config=configs/vqvae.py --show_config

The part after the colon picks one of a config's settings, named in the file's docstring. Started
again with the same flags, an unfinished run goes on from its last checkpoint.
"""

import importlib.util
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import jax
from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from vaejax.core.registry import near_names
from vaejax.data.readers.cache import cache_dir
from vaejax.experiment.run import flatten, run
from vaejax.experiment.run_sweep import run_sweep
from vaejax.sweeps.grid import sweeps
from vaejax.training import NotFiniteError
from vaejax.training.checkpoint import CorruptCheckpointError

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "A file of configs/, with :SETTING if it has several.", lock_config=True
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where checkpoints, records and figures go.")
_MODE = flags.DEFINE_enum("mode", "train", ["train", "evaluate", "sample", "export"], "What to do.")
_SHOW = flags.DEFINE_bool("show_config", False, "Print the config's fields as flags, and stop.")


def _find(path: str) -> Path:
    """A config file; where it is not here, the one installed with the package.

    Raises:
      ValueError: there is no such file.
    """
    if Path(path).is_file():
        return Path(path)
    spec = importlib.util.find_spec("configs")
    folders = [Path(p) for p in (spec.submodule_search_locations or [])] if spec else []
    for folder in folders:
        if (folder / Path(path).name).is_file():
            return folder / Path(path).name
    known = {f"configs/{p.name}" for folder in folders for p in folder.glob("[a-z]*.py")}
    raise ValueError(f"no config {near_names(path, known)}")


def _fields(file: Path, setting: str) -> ConfigDict:
    """The config of a file's setting, the default one if `''`."""
    spec = importlib.util.spec_from_file_location("config", file)
    if spec is None or spec.loader is None:
        raise ValueError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(setting) if setting else module.get_config()


def _check(config: ConfigDict, flag: str) -> None:
    """Raises ValueError unless `config.a.b` names a field of the config."""
    here, path = config, "config"
    for name in flag.split(".")[1:]:
        name = name.partition("[")[0]
        known = here.keys() if isinstance(here, ConfigDict) else ()
        if name not in known:
            raise ValueError(f"{path} has no field {near_names(name, known)}")
        here, path = here[name], f"{path}.{name}"


def _checked(argv: Sequence[str]) -> list[str]:
    """The command line with its config file found, after a look at all that concerns it.

    `config_flags` would answer a mistake in these with a traceback.

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
            _check(config, name.removeprefix("no"))
        checked.append(argument)
    return checked


def _parse(argv: Sequence[str]) -> list[str]:
    """Flags, with every mistake answered by one line."""
    try:
        return flags.FLAGS(_checked(argv))
    except (flags.Error, ValueError, OSError) as error:
        _fail(error)


def _fail(error: BaseException) -> NoReturn:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)


def main(argv: Sequence[str]) -> None:
    """Runs what the flags say."""
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)  # libraries tell every file they write
    if len(argv) > 1:
        _fail(ValueError(f"unexpected arguments {argv[1:]}; flags are --name=value"))
    if _CONFIG.value is None:
        _fail(ValueError("--config is missing, for example --config=configs/vqvae.py"))
    config = _CONFIG.value.to_dict()
    if _SHOW.value:
        for name, value in flatten(config).items():
            print(shlex.quote(f"--config.{name}={value}"))
        return
    workdir = _WORKDIR.value
    if not workdir:
        _fail(ValueError("--workdir is missing, for example --workdir=runs/first"))
    try:
        (run_sweep if sweeps(config) else run)(config, Path(workdir), _MODE.value)
    except (ValueError, OSError, ImportError, NotFiniteError, CorruptCheckpointError) as error:
        if os.environ.get("VAEJAX_TRACEBACK"):  # for whoever looks for a bug in the library
            raise
        _fail(error)


if __name__ == "__main__":
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        # Compiled programs are kept between runs: the second start of a config takes seconds.
        jax.config.update("jax_compilation_cache_dir", str(cache_dir() / "xla"))
    app.run(main, flags_parser=_parse)
