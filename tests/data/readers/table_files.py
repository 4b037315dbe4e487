"""A table of numbers and categories, written as CSV or Parquet."""

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow")
pytest.importorskip("pyarrow.csv")
pytest.importorskip("pyarrow.parquet")

_RANDOM = np.random.RandomState(0)
N = 60
TABLE = {
    "age": _RANDOM.randint(18, 90, N),
    "income": np.exp(_RANDOM.randn(N) + 10),
    "job": _RANDOM.choice(["smith", "baker", "Über, dim"], N),
    "owner": _RANDOM.rand(N) > 0.5,
    "bit": _RANDOM.randint(0, 2, N),
    "class": _RANDOM.choice(["yes", "no"], N),
}


def write(path, table, **options):
    table = pa.table(dict(table))
    if str(path).endswith("parquet"):
        pa.parquet.write_table(table, path, **options)
    else:
        pa.csv.write_csv(table, path, **options)
    return f"{'parquet' if str(path).endswith('parquet') else 'csv'}:{path}"
