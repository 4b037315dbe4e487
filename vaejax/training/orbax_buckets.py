"""Checkpoints in buckets: what Orbax needs beyond a path.

Orbax reads and writes `gs://` by the driver `gcs` of TensorStore. TensorStore has a driver for
Amazon S3 as well, but this version of Orbax asks for it nowhere: `support_buckets` makes it do so.
"""

import os
from pathlib import Path

from orbax.checkpoint import path as orbax_path

from vaejax.core.types import Untyped

__all__ = ["support_buckets", "temporary_path_class"]

_S3 = "s3://"


def temporary_path_class(directory: Path) -> Untyped:
    """How Orbax marks a checkpoint as complete; None for its own choice.

    In a bucket there is nothing to rename: a checkpoint is complete when a last object is in it.
    """
    support_buckets(directory)
    if os.fspath(directory).startswith(_S3):
        return orbax_path.atomicity.CommitFileTemporaryPath
    return None


def support_buckets(path: Path) -> None:
    """Lets Orbax use the driver `s3` of TensorStore for paths of S3; does nothing for others.

    Raises:
      ImportError: Orbax is another version, in which this cannot be set.
    """
    if not os.fspath(path).startswith(_S3):
        return
    from orbax.checkpoint._src.path import gcs_utils
    from orbax.checkpoint._src.serialization import tensorstore_utils as stores

    names: list[tuple[Untyped, str]] = [
        *((stores, "_use_gcs_driver"), (stores, "_normalize_path")),
        (gcs_utils, "get_kvstore_for_gcs"),
    ]
    if missing := [name for module, name in names if not hasattr(module, name)]:
        raise ImportError(
            f"checkpoints in {_S3} need another version of orbax-checkpoint (it has no "
            f"{missing[0]}): pip install 'orbax-checkpoint==0.12.8'"
        )
    if getattr(gcs_utils.get_kvstore_for_gcs, "of_vaejax", False):
        return
    uses, normal, store = (getattr(module, name) for module, name in names)

    def of_bucket(location: str) -> Untyped:
        return _s3_store(location) if location.startswith(_S3) else store(location)

    of_bucket.of_vaejax = True  # type: ignore[attr-defined]
    replacements = (
        lambda location: location.startswith(_S3) or uses(location),
        lambda location: normal(location).replace("s3:/", _S3, 1),
        of_bucket,
    )
    for (module, name), replacement in zip(names, replacements, strict=True):
        setattr(module, name, replacement)


def _s3_store(location: str) -> dict[str, Untyped]:
    """The key-value store of TensorStore, with the variables that the AWS tools read."""
    bucket, _, path = location.removeprefix(_S3).partition("/")
    spec: dict[str, Untyped] = {"driver": "s3", "bucket": bucket, "path": path}
    variables = os.environ
    endpoint = variables.get("AWS_ENDPOINT_URL_S3") or variables.get("AWS_ENDPOINT_URL")
    region = variables.get("AWS_REGION") or variables.get("AWS_DEFAULT_REGION")
    if endpoint:  # of a store that speaks the protocol of S3
        spec |= {"endpoint": endpoint, "aws_region": region or "us-east-1"}
    elif region:
        spec["aws_region"] = region
    if variables.get("AWS_ACCESS_KEY_ID"):
        spec["aws_credentials"] = {"type": "environment"}
    return spec
