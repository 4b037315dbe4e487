"""Tests of the grammar and the entropy of the generated text."""

import itertools
import lzma
import math
import re
from collections import Counter

import numpy as np

from vaejax import data
from vaejax.data.synthetic.sentences import (
    ALPHABET,
    CHOICES,
    PRONOUNS,
    entropy_rate,
    sentence,
    sentences,
)


def test_the_source_is_deterministic():
    train, held_out = (data.load("synthetic:text", split) for split in ("train", "eval"))
    assert (train.size, held_out.size) == (8000, 1000)
    rows = held_out.take(np.arange(50))["tokens"]
    assert rows.shape == (50, 64)
    assert not np.array_equal(rows, train.take(np.arange(50))["tokens"])
    again = data.load("synthetic:text", "eval").take(np.arange(50))["tokens"]
    np.testing.assert_array_equal(rows, again)
    assert "".join(train.token_names) == ALPHABET
    assert train.num_tokens == len(ALPHABET) == 28


def test_pronouns_and_verbs_agree_with_the_subject():
    text = "".join(ALPHABET[i] for i in sentences(300, seed=5).ravel())
    lines = text.split(". ")[:-1]
    assert len(lines) > 250
    for line in lines:
        pattern = r"the (?:\w+ )?(\w+) (\w+) (?:a|the|two|gold)\b.* and (\w+) (\w+)"
        match = re.fullmatch(pattern, line)
        assert match, line
        subject, verb, pronoun, act = match.groups()
        assert PRONOUNS[subject] == pronoun
        plural = pronoun == "they"
        assert (verb in CHOICES["verb"]) == (act in CHOICES["act"]) == plural


def test_the_entropy_rate_equals_enumeration_of_all_sentences():
    """Over all 2¹⁷ sentences: the mean of −log p divided by the mean length."""
    lines = Counter(sentence(*chosen) for chosen in itertools.product(*CHOICES.values()))
    total = sum(lines.values())
    nats = -sum(n / total * math.log(n / total) for n in lines.values())
    length = sum(n / total * len(line) for line, n in lines.items())
    assert all(line.index(". ") == len(line) - 2 for line in lines)  # a code without ambiguity
    np.testing.assert_allclose(entropy_rate(), nats / length, rtol=1e-9)
    np.testing.assert_allclose(entropy_rate() / math.log(2), 0.303, atol=5e-4)


def test_a_compressor_stays_above_the_entropy_rate():
    """A general compressor approaches it from above, within a factor of two on much text."""
    tokens = sentences(20_000, seed=6)
    nats = 8 * len(lzma.compress(tokens.astype(np.uint8).tobytes(), preset=9)) * math.log(2)
    assert 1.0 < nats / tokens.size / entropy_rate() < 2.0
