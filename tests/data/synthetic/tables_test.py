"""The simulated data of sparse decoding against the formulas of its paper."""

import numpy as np
import pytest

from vaejax.data import load
from vaejax.data.synthetic.tables import FACTOR_SUPPORT, factors


def test_columns_follow_the_formulas_of_the_paper():
    x, z = factors(100_000, 3)
    clean = np.stack(
        [z[:, 0], 2 * z[:, 0], 3 * z[:, 0] ** 2, 4 * z[:, 1], 5 * z[:, 1], 6 * np.sin(z[:, 1]),
         7 * z[:, 0] * z[:, 1]], axis=1,
    )  # fmt: skip
    np.testing.assert_allclose((x - clean).std(axis=0), 0.5, rtol=0.01)
    np.testing.assert_allclose(np.corrcoef(z.T), np.eye(2), atol=0.02)
    for column in range(7):  # a column depends on its factors and on no others
        for factor in range(2):
            dependence = np.abs(np.corrcoef(np.abs(clean[:, column]), np.abs(z[:, factor]))[0, 1])
            assert (dependence > 0.1) == FACTOR_SUPPORT[column, factor]
    train, held_out = (load("synthetic:factors", split) for split in ("train", "eval"))
    assert (train.size, held_out.size) == (1000, 1000)
    assert train.column_names[6] == "7 z1 z2"
    rows = [s.take(np.arange(1000))["vector"] for s in (train, held_out)]
    assert not np.isin(rows[0], rows[1]).any()
    with pytest.raises(ValueError, match="unknown synthetic table 'factor'"):
        load("synthetic:factor")
