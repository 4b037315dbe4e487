"""Tests of the rule and the entropy of generated maps of codes."""

import numpy as np

from vaejax.data import load
from vaejax.data.synthetic.code_maps import code_map_entropy, code_maps


def log_likelihood(maps, label):
    """log p(map | class) by the rule, code by code; and the frequency of expected codes."""
    total = np.full(len(maps), -np.log(16))
    hits = 0
    for i in range(6):
        for j in range(6):
            if i == j == 0:
                continue
            before = maps[:, i, j - 1] if j > 0 else maps[:, i - 1, 0]
            hit = maps[:, i, j] == (before + label + 1) % 16
            total += np.log(np.where(hit, 0.9 + 0.1 / 16, 0.1 / 16))
            hits += hit.mean() / 35
    return total, hits


def test_the_entropy_is_the_mean_log_likelihood():
    log_p, hits = log_likelihood(*code_maps(20_000, seed=5))
    error = 4 * log_p.std() / np.sqrt(len(log_p))
    assert abs(-log_p.mean() - code_map_entropy()) < error
    assert abs(hits - (0.9 + 0.1 / 16)) < 0.002


def test_the_source_has_these_maps():
    train, held_out = (load("synthetic:codes", split) for split in ("train", "eval"))
    assert (train.size, held_out.size, train.num_classes) == (10_000, 1000, 3)
    batch = held_out.decode(held_out.take(np.arange(5)))
    maps, label = code_maps(1000, seed=1)
    np.testing.assert_array_equal(batch["tokens"], maps[:5].reshape(5, 36))
    np.testing.assert_array_equal(batch["label"], label[:5])
    assert train.layout.length == 36
    assert not np.array_equal(train.arrays["tokens"][:1000], held_out.arrays["tokens"])
