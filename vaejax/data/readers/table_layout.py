"""The columns of a table that are modelled, those that are labels or conditions, and their kinds.

What cannot be modelled is refused by the name of the column, with what to do about it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from vaejax.core.registry import near_names
from vaejax.data.columns import Column, TableForm
from vaejax.data.load_options import LoadOptions
from vaejax.data.readers.table_scan import MAX_CATEGORIES, ColumnScan, category_names

__all__ = ["TableLayout", "choose_columns", "layout_of", "names_of"]

_INDEX = ("", "Unnamed: 0", "__index_level_0__")  # how pandas writes the index of a data frame


class ChosenColumns(NamedTuple):
    """Names of columns by their use.

    Attributes:
      modelled: the columns of `vector`.
      label: the column of `label`, or ''.
      condition: the columns of `condition`.
    """

    modelled: tuple[str, ...]
    label: str
    condition: tuple[str, ...]


class TableLayout(NamedTuple):
    """How a table is stored as arrays.

    Attributes:
      modelled: the columns of `vector`.
      label: the column of `label`; None without one. It has `categories` also if these are numbers.
      condition: the columns of `condition`.
    """

    modelled: tuple[Column, ...]
    label: Column | None
    condition: tuple[Column, ...]


def names_of(setting: str) -> tuple[str, ...]:
    """The names in a setting as `a,b`."""
    return tuple(name.strip() for name in setting.split(",") if name.strip())


def choose_columns(file: str, names: Sequence[str], options: LoadOptions) -> ChosenColumns:
    """The columns to read.

    Args:
      file: for errors.
      names: of the columns of the file.
      options: `label`, `condition`, `categories` and `drop` name columns.

    Raises:
      ValueError: a setting names no column, or no columns are left, or a trained run has others.
    """
    dropped, condition = names_of(options.drop), names_of(options.condition)
    settings = {
        "drop": dropped,
        "condition": condition,
        "label": (options.label,) if options.label else (),
        "categories": names_of(options.categories),
    }
    for setting, chosen in settings.items():
        for name in chosen:
            missing_label = setting == "label" and options.form is not None
            if name not in names and not missing_label and not (setting == "drop" and options.form):
                raise ValueError(
                    f"data.{setting} of {file} has no column {near_names(name, names)}"
                )
    label = options.label if options.label in names else ""
    apart = {*dropped, *condition, label, *_INDEX}
    modelled = tuple(name for name in names if name not in apart)
    if options.form is not None and options.form.columns:
        expected = [column.name for column in options.form.columns]
        if missing := [name for name in expected if name not in modelled]:
            raise ValueError(f"{file} lacks the column {missing[0]!r}, which the model has")
        if unknown := [name for name in modelled if name not in expected]:
            raise ValueError(
                f"the model was trained without the column {unknown[0]!r} of {file}: leave it out "
                f"with data.drop={unknown[0]!r}"
            )
        modelled = tuple(expected)
    if not modelled:
        raise ValueError(f"{file} has no columns to model besides {sorted(apart - {''})}")
    return ChosenColumns(modelled, label, condition)


def layout_of(
    file: str, chosen: ChosenColumns, scans: Mapping[str, ColumnScan], options: LoadOptions
) -> TableLayout:
    """The kinds and the categories of the columns.

    Args:
      file: for errors.
      chosen: from `choose_columns`.
      scans: the statistics of these columns, over all splits.
      options: with the columns of a trained run as `form`, whose categories are used.

    Raises:
      ValueError: missing values, no rows, or a column that is neither numbers nor categories.
    """
    if next(iter(scans.values())).rows == 0:
        raise ValueError(f"{file} has no rows")
    maskable = chosen.modelled if options.missing == "mask" else ()
    _check_complete(file, scans, maskable)
    form: TableForm | None = options.form
    known = {c.name: c for c in (*form.columns, *form.condition_columns)} if form else {}
    as_categories = names_of(options.categories)

    def column(name: str) -> Column:
        expected = known.get(name)
        return _column(file, scans[name], name in as_categories, expected)

    label = None
    if chosen.label:
        label = _label(file, scans[chosen.label], form)
    modelled = tuple(map(column, chosen.modelled))
    return TableLayout(modelled, label, tuple(map(column, chosen.condition)))


def _check_complete(file: str, scans: Mapping[str, ColumnScan], maskable: Sequence[str]) -> None:
    """Raises ValueError for missing values, but in columns that are masked, and not empty."""
    incomplete = [
        scan
        for scan in scans.values()
        if scan.missing == scan.rows or (scan.missing and scan.name not in maskable)
    ]
    if not incomplete:
        return
    first = incomplete[0]
    more = f" (and {len(incomplete) - 1} more columns)" if len(incomplete) > 1 else ""
    raise ValueError(
        f"column {first.name!r} of {file} has no value in {first.missing:,} of {first.rows:,} "
        f"rows{more}: fill them in, exclude them by data.missing=mask, or leave the column out "
        f"with data.drop={first.name!r}"
    )


def _column(file: str, scan: ColumnScan, as_category: bool, expected: Column | None) -> Column:
    """One column of numbers or categories."""
    label = f"column {scan.name!r} of {file}"
    if scan.kind not in ("int", "float", "bool", "string"):
        kind = "nothing" if scan.kind == "null" else scan.kind
        raise ValueError(
            f"{label} holds {kind}, neither numbers nor categories: turn it into numbers (a date "
            f"into days, say), or leave it out with data.drop={scan.name!r}"
        )
    numbers = scan.kind in ("int", "float")
    if expected is not None:
        if not expected.categories and not numbers:
            raise ValueError(f"{label} holds text, but the model was trained on numbers")
        if not expected.categories and (text := scan.refusal_of_numbers(file)):
            raise ValueError(text)
        if expected.categories:
            if numbers:
                _check_integers(label, scan)
            _check_known(label, category_names(scan), expected)
        return expected
    if numbers and not (as_category or scan.is_binary):
        if text := scan.refusal_of_numbers(file):
            raise ValueError(text)
        return Column(scan.name, (), scan.kind)
    if numbers:
        _check_integers(label, scan)
    elif text := scan.refusal_of_categories(file):
        raise ValueError(text)
    return Column(scan.name, category_names(scan), "int" if numbers else scan.kind)


def _check_integers(label: str, scan: ColumnScan) -> None:
    """Raises ValueError unless a column of numbers can be categories."""
    values: set[Any] | None = scan.distinct
    if (
        values is None
        or len(values) > MAX_CATEGORIES
        or any(not float(v).is_integer() for v in values)
    ):
        raise ValueError(
            f"{label} holds more than {MAX_CATEGORIES} different numbers, or fractions, which are "
            "no categories: leave it out of data.categories"
        )


def _check_known(label: str, names: Sequence[str], expected: Column) -> None:
    """Raises ValueError for a category that a trained model does not have."""
    for name in names:
        if name not in expected.categories:
            known = near_names(name, expected.categories)
            raise ValueError(f"{label} has a category that the model was trained without: {known}")


def _label(file: str, scan: ColumnScan, form: TableForm | None) -> Column:
    """The column of the label, whose categories are the classes."""
    label = f"the label {scan.name!r} of {file}"
    values = scan.distinct
    whole = scan.kind != "float" or values is not None
    if scan.kind not in ("int", "float", "bool", "string") or not whole:
        raise ValueError(
            f"{label} must hold classes, found {'real numbers' if not whole else scan.kind}: leave "
            "it among the columns, or make it a condition by data.condition"
        )
    if values is None or len(values) > MAX_CATEGORIES:
        raise ValueError(f"{label} has more than {MAX_CATEGORIES} classes")
    if scan.kind == "float" and any(not float(v).is_integer() for v in values):
        raise ValueError(
            f"{label} holds real numbers: leave it among the columns, or make it a condition by "
            "data.condition"
        )
    dtype = "int" if scan.kind in ("int", "float") else scan.kind
    column = Column(scan.name, category_names(scan), dtype)
    if form is None or not form.classes:
        return column
    names = form.class_names or tuple(map(str, range(form.classes)))
    _check_known(label, column.categories, Column(scan.name, names))
    return Column(scan.name, names, dtype)
