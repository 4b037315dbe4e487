"""Names that configs use: tables of what they stand for, and calls with checked settings.

`register` adds to these tables from outside the library; the built-in entries are added by the
rooms that define them, all of which `import vaejax` imports.
"""

import contextlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias, TypeVar

import jax

from vaejax.core.annotations import described
from vaejax.core.arguments import check_arguments, near_names
from vaejax.core.types import Options, PyTree

__all__ = [
    "KINDS",
    "Named",
    "call",
    "files_that_registered",
    "is_off",
    "isolated",
    "kind_and_arguments",
    "load_when_used",
    "make",
    "near_names",
    "register",
    "registered",
    "table",
]

Made = TypeVar("Made")
Entry = TypeVar("Entry", bound=Callable[..., object])

# Kind -> the signature of its functions. Settings after `*` are keyword arguments with defaults;
# configs give them by name, as in `{"kind": name, "setting": value}`.
KINDS: Mapping[str, str] = MappingProxyType(
    {
        "family": "(shape, players, *, settings) -> vaejax.Family",
        "network": "(shape, features, out_channels, *, settings) -> (encoder, decoder)",
        "likelihood": "(*, settings) -> vaejax.Likelihood",
        "prior": "(shape, *, settings) -> vaejax.LatentPrior or None",
        "quantizer": "(*, settings) -> vaejax.Quantizer",
        "optimizer": "(*, settings) -> optax.GradientTransformation",
        "data": "(argument, options) -> vaejax.Source",
        "metric": "a class with requires(family, source) and compute(context)",
        "figure": "(metrics, folder) -> whether it wrote the figure of the metric of this name",
    }
)
# What a config names: a function or class of any signature, which `call` checks.
Named: TypeAlias = Callable[..., Any]
_TABLES: dict[str, dict[str, Named]] = {kind: {} for kind in KINDS}
_FILES: set[Path] = set()
_LOADERS: dict[str, Callable[[], object]] = {}


def load_when_used(kind: str, loader: Callable[[], object]) -> None:
    """Calls `loader`, which registers the library's own entries of a kind, before its first use."""
    _LOADERS[kind] = loader


def _table(kind: str) -> dict[str, Named]:
    if kind not in _TABLES:
        raise ValueError(f"unknown kind of registry {near_names(kind, KINDS)}")
    if loader := _LOADERS.pop(kind, None):
        loader()
    return _TABLES[kind]


def table(kind: str, entries: Mapping[str, Named]) -> Mapping[str, Named]:
    """The table of a kind after adding the library's own entries: a read-only, live view."""
    _table(kind).update(entries)
    return MappingProxyType(_table(kind))


def registered(kind: str) -> Mapping[str, Named]:
    """Name -> function or class of a kind, as a read-only, live view.

    Raises:
      ValueError: the kind is unknown.
    """
    return MappingProxyType(_table(kind))


def register(kind: str, name: str) -> Callable[[Entry], Entry]:
    """Decorator that makes a function or class available under a name, wherever configs name one.

    Put it in a module or file that a config lists in `imports`, or in the config file itself: it is
    then recorded in the run and imported again by everything that reads the run.

    Args:
      kind: one of `KINDS`, which also gives the signature:
        `family`: `(shape, players, *, settings) -> Family`;
        `network`: `(shape, features, out_channels, *, settings) -> (encoder, decoder)`, two
          `Network`s;
        `likelihood`: `(*, settings) -> Likelihood`;
        `prior`: `(shape, *, settings) -> LatentPrior`, or None for the bottleneck's own;
        `quantizer`: `(*, settings) -> Quantizer`;
        `optimizer`: `(*, settings) -> optax.GradientTransformation`;
        `data`: `(argument, options) -> Source` for `data.source='name:argument'`;
        `metric`: a class with `requires(family, source)` and `compute(context)`;
        `figure`: `(metrics, folder) -> bool`, which draws the metric of the same name: it receives
          all numbers of an evaluation, writes files into the folder of figures, and returns
          whether it wrote any.
      name: in configs.

    Raises:
      ValueError: the kind is unknown, or the name is taken by something else.
    """
    known = _table(kind)

    def add(entry: Entry) -> Entry:
        before = known.get(name)
        if before is not None and _origin(before) != _origin(entry):
            raise ValueError(
                f"the {kind} {name!r} exists already, defined in {_origin(before)[0]}; "
                "register yours under another name"
            )
        known[name] = entry
        _FILES.add(Path(_origin(entry)[0]).resolve())
        return entry

    return add


def _origin(entry: Named) -> tuple[str, str]:
    """The file that defines an entry, and its name there; the same if a file is run again."""
    function = inspect.unwrap(entry)
    try:
        file = inspect.getsourcefile(function) or ""
    except (TypeError, OSError):
        file = ""
    code = getattr(function, "__code__", None)
    if code is not None:
        file = code.co_filename
    elif inspect.isclass(function):  # whose module may be gone from sys.modules
        methods = [m for m in vars(function).values() if hasattr(m, "__code__")]
        file = methods[0].__code__.co_filename if methods else file
    where = str(Path(file).resolve()) if file else ""  # a relative path and the same one, absolute
    return where, getattr(function, "__qualname__", repr(function))


def files_that_registered() -> frozenset[Path]:
    """The files whose functions were registered from outside the library."""
    return frozenset(_FILES)


@contextlib.contextmanager
def isolated() -> Iterator[None]:
    """A context at whose end names registered in it are forgotten, as in tests of a plugin."""
    for kind, loader in tuple(_LOADERS.items()):  # of the library's own entries, which stay
        try:
            _table(kind)
        except ImportError:  # an extra of figures is not installed
            _LOADERS[kind] = loader
    tables, files = {kind: dict(known) for kind, known in _TABLES.items()}, set(_FILES)
    try:
        yield
    finally:
        for kind, known in _TABLES.items():  # in place, since others hold views
            known.clear()
            known.update(tables[kind])
        _FILES.clear()
        _FILES.update(files)


def is_off(value: object) -> bool:
    """Whether a setting for which 0 means none is 0; a traced value counts as on."""
    return not isinstance(value, jax.Array) and not value


def call(function: Callable[..., Made], what: str, *args: PyTree, **arguments: PyTree) -> Made:
    """`function(*args, **arguments)` after checking names and values of the keyword arguments.

    Args:
      function: to be called.
      what: the subject of error messages, such as "family 'vqvae'".
      *args: positional arguments.
      **arguments: settings from a config.

    Raises:
      ValueError: a setting is unknown, missing, of another type or out of its range.
    """
    parameters = check_arguments(function, what, f"{what}: ", arguments, positional=len(args))
    required = [p.name for p in parameters.values() if p.default is p.empty]
    missing = [name for name in required if name not in arguments]
    if missing:
        raise ValueError(f"{what} lacks the settings {missing}")
    return function(*args, **arguments)


def make(
    known: Mapping[str, Callable[..., Made]],
    setting: str | Options,
    what: str,
    *args: PyTree,
) -> Made:
    """Calls the function that `setting` names: a name, or `{"kind": name, **arguments}`.

    Args:
      known: the functions by name.
      setting: which one, and its keyword arguments.
      what: the word for such a thing, for errors.
      *args: positional arguments that all of them take.

    Raises:
      ValueError: the kind is unknown, or its arguments do not fit.
    """
    kind, arguments = kind_and_arguments(known, setting, what)
    return call(known[kind], f"{what} {kind!r}", *args, **arguments)


def kind_and_arguments(
    known: Iterable[str], setting: str | Options, what: str
) -> tuple[str, dict[str, PyTree]]:
    """The parts of a setting: a name, or `{"kind": name, **arguments}`.

    Args:
      known: the names.
      setting: which one, and its keyword arguments.
      what: the word for such a thing, for errors.

    Raises:
      ValueError: the setting has another form, or the kind is unknown.
    """
    if not isinstance(setting, str | Mapping):
        raise ValueError(
            f"{what} must be a name or a mapping with the name as its 'kind', found "
            f"{described(setting)} (known: {', '.join(sorted(known))})"
        )
    arguments = {"kind": setting} if isinstance(setting, str) else dict(setting)
    kind = str(arguments.pop("kind", None))
    if kind not in known:
        raise ValueError(f"unknown {what} {near_names(kind, known)}")
    return kind, arguments
