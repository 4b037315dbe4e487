"""Type annotations of fields and arguments: which values of a config fit, in code and in words."""

import collections.abc
import types
from collections.abc import Mapping
from typing import Literal, Union, get_args, get_origin

import numpy as np

from vaejax.core.types import Setting

__all__ = ["accepts", "described", "type_name"]


def described(value: Setting) -> str:
    """A value as an error shows it: short, on one line."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def _is_number(value: Setting) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def accepts(annotation: Setting, value: Setting) -> bool:
    """Whether a value of a config fits an annotation; True for annotations that say nothing.

    A bool is no number, a whole number is a float, a list is a sequence, a str is not.
    """
    origin: Setting = get_origin(annotation)
    arguments = get_args(annotation)
    if origin in (Union, types.UnionType):
        return any(accepts(part, value) for part in arguments)
    if annotation in (None, type(None)):
        return value is None
    if annotation is bool:
        return isinstance(value, bool | np.bool_)
    if annotation is int:
        return _is_number(value) and not isinstance(value, float | np.floating)
    if annotation in (float, complex):
        return _is_number(value)
    if origin is Literal:
        return any(value == choice for choice in arguments)
    if origin is collections.abc.Callable:
        return callable(value)
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        return isinstance(value, list | tuple) and len(value) == len(arguments)
    if origin in (list, tuple) or origin is collections.abc.Sequence:
        if isinstance(value, np.ndarray):
            return True
        sequence = isinstance(value, list | tuple) and not hasattr(value, "_fields")
        return sequence and all(accepts(arguments[0], element) for element in value)
    if origin in (dict, collections.abc.Mapping):
        return isinstance(value, Mapping)
    if isinstance(annotation, type) and origin is None:
        try:
            return isinstance(value, annotation)
        except TypeError:  # a protocol that cannot be checked
            return True
    return True


_NAMES = {bool: "True or False", int: "a whole number", float: "a number", str: "a text"}
_PLURALS = {int: "whole numbers", float: "numbers", str: "texts"}


def type_name(annotation: Setting) -> str:
    """The values of an annotation that a config can hold, in words: "a number or a text"."""
    origin: Setting = get_origin(annotation)
    arguments = get_args(annotation)
    if origin in (Union, types.UnionType):
        names = [type_name(part) for part in arguments if part is not type(None)]
        names = list(dict.fromkeys(name for name in names if name))
        return " or ".join(names)
    if origin in (list, tuple) or origin is collections.abc.Sequence:
        if origin is tuple and arguments[-1] is not Ellipsis:
            return ""
        return f"a sequence of {_PLURALS.get(arguments[0], 'sequences of numbers')}"
    if origin in (dict, collections.abc.Mapping):
        return "a mapping of settings"
    return _NAMES.get(annotation, "")
