"""Trains, evaluates and samples from a variational autoencoder.

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
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from vaejax.data.cache import cache_dir
from vaejax.run import flatten, run
from vaejax.settings import near_names
from vaejax.training.checkpoint import CorruptCheckpointError
from vaejax.training.loop import NotFiniteError

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "A file of configs/, with :SETTING if it has several.", lock_config=True
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where checkpoints, records and figures go.")
_MODE = flags.DEFINE_enum("mode", "train", ["train", "evaluate", "sample"], "What to do.")
_SHOW = flags.DEFINE_bool("show_config", False, "Print the config's fields as flags, and stop.")


def _locate(argument: str) -> str:
    """`--config=configs/x.py` where that file is not here: the one installed with the package."""
    flag, _, value = argument.partition("=")
    if flag.lstrip("-") != "config" or not value:
        return argument
    name, colon, setting = value.partition(":")
    if Path(name).exists():
        return argument
    spec = importlib.util.find_spec("configs")
    folders = [Path(p) for p in (spec.submodule_search_locations or [])] if spec else []
    for folder in folders:
        if (folder / Path(name).name).exists():
            return f"{flag}={folder / Path(name).name}{colon}{setting}"
    known = sorted({f"configs/{p.name}" for d in folders for p in d.glob("[a-z]*.py")})
    raise ValueError(f"no config {near_names(name, known)}")


def _parse(argv: Sequence[str]) -> list[str]:
    """Flags, with every mistake answered by one line."""
    try:
        return flags.FLAGS([_locate(a) for a in argv])
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        _fail(error)


def _fail(error: BaseException) -> NoReturn:
    message = str(error.args[0]) if isinstance(error, KeyError) else str(error)
    print(f"error: {message}", file=sys.stderr)
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
            print(f"--config.{name}={value}")
        return
    workdir = _WORKDIR.value
    if not workdir:
        _fail(ValueError("--workdir is missing, for example --workdir=runs/first"))
    try:
        run(config, Path(workdir), _MODE.value)
    except (ValueError, OSError, ImportError, NotFiniteError, CorruptCheckpointError) as error:
        if os.environ.get("VAEJAX_TRACEBACK"):  # for whoever looks for a bug in the library
            raise
        _fail(error)


if __name__ == "__main__":
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        # Compiled programs are kept between runs: the second start of a config takes seconds.
        jax.config.update("jax_compilation_cache_dir", str(cache_dir() / "xla"))
    app.run(main, flags_parser=_parse)
