"""From a name and its arguments, as written in a config, to the thing itself — or a clear error."""

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax


def near_names(name: str, known: Iterable[str]) -> str:
    """`name` with the known names beside it and the nearest pointed out: an error's tail."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    return f"{name!r} (known: {', '.join(known) or 'none'}){hint}"


def is_off(value: Any) -> bool:
    """Whether a setting for which 0 means none is 0. A traced one may be anything, so it is on."""
    return not isinstance(value, jax.Array) and not value


def call(function: Callable[..., Any], what: str, *args: Any, **arguments: Any) -> Any:
    """`function(*args, **arguments)`, its keyword arguments checked before.

    Raises:
      ValueError: an argument is unknown or missing; `what` says whose it was.
    """
    signature = inspect.signature(function)
    known = list(signature.parameters.values())[len(args) :]
    names = [p.name for p in known if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    open_ended = any(p.kind is p.VAR_KEYWORD for p in known)
    for name in arguments:
        if name not in names and not open_ended:
            raise ValueError(f"{what} has no setting {near_names(name, names)}")
    missing = [p.name for p in known if p.name in names and p.default is p.empty]
    missing = [name for name in missing if name not in arguments]
    if missing:
        raise ValueError(f"{what} lacks the settings {missing}")
    return function(*args, **arguments)


def make(
    known: Mapping[str, Callable[..., Any]],
    setting: str | Mapping[str, Any],
    what: str,
    *args: Any,
) -> Any:
    """Calls the function that `setting` names: a name, or `{"kind": name, **arguments}`.

    Args:
      known: the functions by name.
      setting: which one, and its keyword arguments.
      what: the word for such a thing, for errors.
      *args: positional arguments that any of them takes.

    Raises:
      ValueError: the kind is unknown, or its arguments do not fit.
    """
    arguments = {"kind": setting} if isinstance(setting, str) else dict(setting)
    kind = str(arguments.pop("kind", None))
    if kind not in known:
        raise ValueError(f"unknown {what} {near_names(kind, known)}")
    return call(known[kind], f"{what} {kind!r}", *args, **arguments)
