"""Checks keyword arguments from a config against the signature of the function they are for."""

import difflib
import inspect
from collections.abc import Callable, Iterable, Sequence

from vaejax.core.fields import check_value
from vaejax.core.option_ranges import NUMBERS, WHOLE_AS_FLOAT, range_of_option
from vaejax.core.types import Options, PyTree

__all__ = ["check_arguments", "near_names"]


def near_names(name: str, known: Iterable[str]) -> str:
    """`name` with the known names and the nearest of them: the end of an error message."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    return f"{name!r} (known: {', '.join(known) or 'none'}){hint}"


def check_arguments(
    function: Callable[..., object],
    what: str,
    prefix: str,
    arguments: Options,
    *,
    positional: int = 0,
) -> dict[str, inspect.Parameter]:
    """Checks keyword arguments against a signature, its annotations and the table of ranges.

    Args:
      function: whose arguments they are; it is not called.
      what: the subject of errors about names, such as "family 'vqvae'".
      prefix: comes before the name of an argument in errors about its value.
      arguments: settings from a config.
      positional: number of first parameters that are passed by position.

    Returns:
      The parameters that settings may name.

    Raises:
      ValueError: a setting is unknown, of another type or out of its range.
    """
    signature = _signature(function)
    found = list(signature.parameters.values())[positional:]
    parameters = {p.name: p for p in found if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    open_ended = any(p.kind is p.VAR_KEYWORD for p in found)
    for name, value in arguments.items():
        if name not in parameters and not open_ended:
            raise ValueError(f"{what} has no setting {near_names(str(name), parameters)}")
        parameter = parameters.get(name)
        annotation: object = parameter.annotation if parameter else None
        if parameter is None or annotation is parameter.empty:
            annotation = PyTree
        if parameter is not None and value is parameter.default:
            continue
        if name in NUMBERS and not callable(value):
            annotation = float | Options if name == "learning_rate" else float
        if name in WHOLE_AS_FLOAT and annotation in (int, Sequence[int]):
            value = _whole(value)
        check_value(f"{prefix}{name}", value, annotation, range_of_option(function, name))
    return parameters


def _signature(function: Callable[..., object]) -> inspect.Signature:
    """The signature of a function, its annotations evaluated where that is possible."""
    try:
        return inspect.signature(function, eval_str=True)
    except (NameError, AttributeError, SyntaxError, TypeError):
        return inspect.signature(function)


def _whole(value: PyTree) -> PyTree:
    """The value with whole floats, as in 1e4, as ints."""
    if isinstance(value, list | tuple):
        return [_whole(element) for element in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
