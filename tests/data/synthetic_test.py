"""Data made on the spot: sounds have the pitch they say, and text the entropy."""

import itertools
import lzma
import math
import re
from collections import Counter

import numpy as np
import pytest

from vaejax import data
from vaejax.data.sentences import ALPHABET, CHOICES, PRONOUNS, entropy_rate, sentence, sentences
from vaejax.data.waveforms import NOISE, RATE, waveforms

SIZES = {"waveforms": ("signal", (512, 1)), "text": ("tokens", (64,))}


@pytest.mark.parametrize("name", SIZES)
def test_sources_made_on_the_spot(name):
    field, shape = SIZES[name]
    train, held_out = (data.load(f"synthetic:{name}", split) for split in ("train", "eval"))
    assert (train.size, held_out.size) == (8000, 1000)
    rows = held_out.take(np.arange(50))[field]
    assert rows.shape == (50, *shape)
    assert not np.array_equal(rows, train.take(np.arange(50))[field])
    again = data.load(f"synthetic:{name}", "eval").take(np.arange(50))[field]
    np.testing.assert_array_equal(rows, again)


def autocorrelation_pitch(x):
    """The pitch in Hz whose period, in any fraction of a sample, makes the clip most alike itself.

    The power spectrum [F], transformed back at the lag of each candidate.
    """
    power = np.abs(np.fft.rfft(x, 4096)) ** 2
    frequencies = np.fft.rfftfreq(4096, 1 / RATE)
    candidates = np.geomspace(95, 850, 2000)
    likeness = np.cos(2 * np.pi * frequencies[None] / candidates[:, None]) @ power
    return candidates[np.argmax(likeness * candidates**0.05)]  # of a period and its double, that


def test_waveforms_have_the_pitch_they_say():
    clips, pitch = waveforms(200, seed=3)
    assert clips.dtype == np.float32
    assert 0.3 < np.abs(clips).max() <= 1
    assert abs(clips.mean()) < 1e-2
    found = np.array([autocorrelation_pitch(clip[:, 0]) for clip in clips])
    octaves = np.abs(np.log2(found / pitch))
    # A clip whose first harmonic is weak may be taken for one an octave off.
    assert np.median(octaves) < 0.02
    assert (octaves < 0.1).mean() > 0.85


def test_waveforms_are_noise_before_they_start_and_decay_after():
    clips, _ = waveforms(500, seed=4)
    power = np.square(clips[..., 0])
    first = power[:, :2].mean()  # few clips have begun, and those only just
    np.testing.assert_allclose(first, NOISE**2, rtol=0.2)
    assert power[:, 128:256].mean() > 2 * power[:, 384:].mean() > 4 * first


def test_text_is_made_of_sentences_that_agree():
    text = "".join(ALPHABET[i] for i in sentences(300, seed=5).ravel())
    whole = text.split(". ")[:-1]
    assert len(whole) > 250
    for line in whole:
        pattern = r"the (?:\w+ )?(\w+) (\w+) (?:a|the|two|gold)\b.* and (\w+) (\w+)"
        match = re.fullmatch(pattern, line)
        assert match, line
        subject, verb, pronoun, act = match.groups()
        assert PRONOUNS[subject] == pronoun
        plural = pronoun == "they"
        assert (verb in CHOICES["verb"]) == (act in CHOICES["act"]) == plural


def test_the_entropy_of_the_text_is_that_of_all_its_sentences():
    """Every one of the 2¹⁷ sentences, as strings: the mean of −log p over the mean length."""
    lines = Counter(sentence(*chosen) for chosen in itertools.product(*CHOICES.values()))
    total = sum(lines.values())
    nats = -sum(n / total * math.log(n / total) for n in lines.values())
    length = sum(n / total * len(line) for line, n in lines.items())
    assert all(line.index(". ") == len(line) - 2 for line in lines)  # one can see where each ends
    np.testing.assert_allclose(entropy_rate(), nats / length, rtol=1e-9)
    np.testing.assert_allclose(entropy_rate() / math.log(2), 0.303, atol=5e-4)


def test_no_compressor_beats_the_entropy():
    """A general one comes from above, and near where it has seen much."""
    tokens = sentences(20_000, seed=6)
    nats = 8 * len(lzma.compress(tokens.astype(np.uint8).tobytes(), preset=9)) * math.log(2)
    assert 1.0 < nats / tokens.size / entropy_rate() < 2.0
