"""Text generated from a small grammar, with exactly known entropy.

Every sentence has one subject: `the old queen guards a ring by the sea and she sings. `. The
pronoun and the endings of both verbs depend on it, the last ending on letters about forty
characters earlier; a model of the text has to learn this dependence.
"""

import itertools

import numpy as np

__all__ = [
    "ALPHABET",
    "CHOICES",
    "LENGTH",
    "PRONOUNS",
    "encode",
    "entropy_rate",
    "sentence",
    "sentences",
]

ALPHABET = " .abcdefghijklmnopqrstuvwxyz"  # token 0 is the space, 1 the full stop, 2 the letter a
LENGTH = 64  # characters of an example

_SUBJECTS = {
    "he": ("king", "wizard", "miller", "knight"),
    "she": ("queen", "witch", "duchess", "weaver"),
    "it": ("dragon", "fox", "raven", "toad"),
    "they": ("sailors", "children", "wolves", "giants"),
}
PRONOUNS = {name: pronoun for pronoun, names in _SUBJECTS.items() for name in names}
# A sentence takes one option of each, independently and uniformly.
CHOICES = {
    "adjective": ("", "old ", "young ", "small ", "proud ", "sleepy ", "clever ", "kind "),
    "subject": tuple(PRONOUNS),
    "verb": ("guard", "follow", "paint", "find", "steal", "remember", "want", "hide"),
    "object": ("a ring", "the moon", "a map", "two keys", "the bread", "a song", "gold", "a boat"),
    "place": ("by the sea", "in the wood", "on the hill", "at night"),
    "act": ("sing", "dream", "laugh", "wait"),
}


def sentence(adjective: str, subject: str, verb: str, thing: str, place: str, act: str) -> str:
    """The sentence with these options of `CHOICES`, with the space that follows it."""
    pronoun = PRONOUNS[subject]
    s = "" if pronoun == "they" else "s"
    return f"the {adjective}{subject} {verb}{s} {thing} {place} and {pronoun} {act}{s}. "


def entropy_rate() -> float:
    """Nats per character of the infinite text, 0.210 (0.303 bits): the lowest possible loss.

    Different choices give different sentences and each ends in a full stop, so text and choices
    determine each other: the rate is the entropy of the choices over the mean sentence length. An
    example starts at an arbitrary character, so its own entropy is slightly higher.
    """
    nats = sum(np.log(len(options)) for options in CHOICES.values())
    lengths = [len(sentence(*chosen)) for chosen in itertools.product(*CHOICES.values())]
    return float(nats / np.mean(lengths))


def encode(text: str) -> np.ndarray:
    """Tokens int32 `[T]` of a text of T characters, all in `ALPHABET`."""
    table = np.zeros(128, np.int32)
    for token, character in enumerate(ALPHABET):
        table[ord(character)] = token
    return table[np.frombuffer(text.encode("ascii"), np.uint8)]


def sentences(examples: int, seed: int) -> np.ndarray:
    """Consecutive pieces of 64 characters of an infinite text of such sentences.

    Args:
      examples: N.
      seed: of the choices.

    Returns:
      Tokens int32 `[N, 64]`, indices into `ALPHABET`.
    """
    random = np.random.RandomState(seed)
    parts, length = [], 0
    while length < examples * LENGTH:
        chosen = [options[random.randint(len(options))] for options in CHOICES.values()]
        parts.append(sentence(*chosen))
        length += len(parts[-1])
    return encode("".join(parts)[: examples * LENGTH]).reshape(examples, LENGTH)
