"""Where a run's files are: a folder, or a bucket of Google Cloud Storage or Amazon S3.

A folder is a `pathlib.Path`. A bucket is a path of `etils.epath`, which has the same methods except
those that have no meaning there; the functions of this module replace them.
"""

import importlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from vaejax.core.types import Untyped

__all__ = [
    "absolute",
    "as_path",
    "check_reachable",
    "failures",
    "file_system",
    "is_bucket",
    "local_copies",
    "remove_tree",
]

# Scheme -> the package that speaks its protocol; the extra has the scheme's name in `_EXTRAS`.
_PACKAGES = {"gs": "gcsfs", "s3": "s3fs"}
_EXTRAS = {"gs": "gcs", "s3": "s3"}
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/{1,2}(?!/)(.*)", re.DOTALL)


def as_path(location: str | os.PathLike[str]) -> Path:
    """The path of a location that a user gives.

    Args:
      location: a folder or file, `gs://BUCKET/...` or `s3://BUCKET/...`. `pathlib` makes one slash
        of two; such paths are understood too.

    Raises:
      ImportError: the package that reads and writes such buckets is missing.
      ValueError: it is an address of another kind, or names no bucket.
    """
    text = os.fspath(location)
    match = _SCHEME.fullmatch(text)
    if match is None:
        return Path(location)
    scheme, rest = match.groups()
    if scheme not in _PACKAGES:
        raise ValueError(
            f"{text} is not supported: give a folder, gs://BUCKET/FOLDER or s3://BUCKET/FOLDER"
        )
    if not rest.strip("/"):
        raise ValueError(f"{text} names no bucket: give {scheme}://BUCKET/FOLDER")
    _prepare(scheme)
    from etils import epath

    return cast(Path, epath.Path(f"{scheme}://{rest.rstrip('/')}"))


def _prepare(scheme: str) -> None:
    """Checks the package of a scheme, and switches off its cache of listings.

    Orbax and other processes write to the bucket too, which a cached listing would hide. TensorFlow
    must not read it instead, which epath prefers where it is installed.
    """
    try:
        importlib.import_module(_PACKAGES[scheme])
    except ImportError as error:
        raise ImportError(
            f"{scheme}:// needs the package {_PACKAGES[scheme]}: "
            f"pip install 'vaejax[{_EXTRAS[scheme]}]'"
        ) from error
    config: Untyped = importlib.import_module("fsspec.config")
    for protocol in ("gs", "gcs", "s3", "s3a"):
        config.conf.setdefault(protocol, {}).setdefault("use_listings_cache", False)
    os.environ.setdefault("EPATH_USE_TF", "false")


def is_bucket(path: str | os.PathLike[str]) -> bool:
    """Whether a path is in a bucket rather than a folder."""
    return os.fspath(path).startswith(tuple(f"{scheme}://" for scheme in _PACKAGES))


def absolute(path: Path) -> Path:
    """The path, independent of the current folder and without symbolic links."""
    return path if is_bucket(path) else path.resolve()


def failures(path: str | os.PathLike[str]) -> type[Exception]:
    """What reading or writing there may raise; the packages of buckets share no base class."""
    return Exception if is_bucket(path) else OSError


def file_system(path: Path) -> Untyped:
    """The file system of fsspec that a path in a bucket belongs to."""
    return importlib.import_module("fsspec").filesystem(os.fspath(path).partition("://")[0])


def check_reachable(path: Path) -> None:
    """Asks for a path in a bucket, which need not exist; does nothing for a folder.

    Raises:
      OSError: there is no such bucket, no connection, or no right to read.
    """
    if not is_bucket(path):
        return
    files, location = file_system(path), os.fspath(path)
    try:
        files.info(location)
    except FileNotFoundError:
        scheme, _, rest = location.partition("://")
        _check_bucket(files, path, f"{scheme}://{rest.partition('/')[0]}")
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise OSError(f"cannot read {path}: {reason}") from error


def _check_bucket(files: Untyped, path: Path, bucket: str) -> None:
    try:
        files.info(bucket)
    except FileNotFoundError:
        raise OSError(f"cannot read {path}: the bucket {bucket} does not exist") from None
    except Exception:  # to ask for a bucket itself is another right, which a user may lack
        return


@contextmanager
def local_copies(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """The files themselves, or copies on this machine of those in a bucket, until the end."""
    if not any(map(is_bucket, paths)):
        yield [*paths]
        return
    with tempfile.TemporaryDirectory(prefix="vaejax-") as folder:
        copies = [Path(folder) / path.name for path in paths]
        for path, copy in zip(paths, copies, strict=True):
            copy.write_bytes(path.read_bytes())
        yield copies


def remove_tree(path: Path) -> None:
    """Removes a folder and everything in it."""
    if is_bucket(path):
        cast(Untyped, path).rmtree()
    else:
        shutil.rmtree(path)
