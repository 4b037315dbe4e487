"""Uploads an exported model to a repository of the Hugging Face Hub."""

import os
from pathlib import Path
from typing import NamedTuple

from vaejax.core.paths import is_bucket, local_copies
from vaejax.core.types import Untyped
from vaejax.export.safetensors import need

__all__ = ["HubError", "Repository", "check_hub", "push"]

# Bases of the errors of a failed connection, of any version of the client.
_NETWORK = {"TransportError", "ConnectionError", "TimeoutError"}


class HubError(RuntimeError):
    """The Hub cannot be reached, or refuses. The message is one line with the remedy."""


class Repository(NamedTuple):
    """A repository of the Hub.

    Attributes:
      name: `USER/NAME`, or `NAME` for the token's user.
      private: whether it is private, if it is created.
    """

    name: str
    private: bool = False


def _library() -> Untyped:
    return need("huggingface_hub", "hub")


def check_hub(repository: Repository) -> None:
    """Checks what can be checked without the network: package, name and token.

    Raises:
      ImportError: huggingface_hub is not installed.
      ValueError: there can be no repository of this name.
      HubError: there is no token.
    """
    hub, name = _library(), repository.name
    try:
        need("huggingface_hub.utils", "hub").validate_repo_id(name)
    except ValueError as error:
        raise ValueError(f"--hub={name} is no name of a repository: {_first_line(error)}") from None
    if not hub.get_token():
        raise HubError(
            f"--hub={name} needs a token that may write: set HF_TOKEN, or run 'hf auth login'"
        )


def push(folder: Path, repository: Repository) -> str:
    """Uploads the files of a folder as one commit; creates the repository if it is missing.

    Args:
      folder: with the files.
      repository: where to.

    Returns:
      The address of the repository.

    Raises:
      HubError: the Hub cannot be reached, or refuses.
    """
    api = _library().HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    try:
        created = api.create_repo(repository.name, private=repository.private, exist_ok=True)
        with local_copies([*folder.iterdir()] if is_bucket(folder) else []) as copies:
            api.upload_folder(
                repo_id=created.repo_id,
                folder_path=str(copies[0].parent if copies else folder),
                commit_message="Exported by vaejax",
                ignore_patterns=[".*"],
            )
    except Exception as error:
        raise HubError(
            f"cannot push to {repository.name} on the Hub: {_describe(error)}"
        ) from error
    return str(created)


def _describe(error: Exception) -> str:
    """What an answer of the Hub means, and what helps."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 401:
        return "the token is not valid: set HF_TOKEN, or run 'hf auth login'"
    if status == 403:
        return "the token may not write there: take one with the role 'write', or another name"
    if status is not None:
        return f"it answers {status}: {_first_line(error)}"
    if _NETWORK & {base.__name__ for base in type(error).__mro__}:
        return f"{_first_line(error)}; check the network, and try the same command again"
    return f"{type(error).__name__}: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
