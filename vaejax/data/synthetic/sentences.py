"""Text made on the spot from a small grammar, whose entropy is known exactly.

Every sentence tells of one character: `the old queen guards a ring by the sea and she sings. `. The
pronoun and the endings of both verbs depend on the subject, the last of them on letters some forty
places before; to read them is what a model of the text has to learn.
"""

import itertools

import numpy as np

ALPHABET = " .abcdefghijklmnopqrstuvwxyz"  # token 0 is the blank, 1 the full stop, 2 the letter a
LENGTH = 64  # characters of an example

_SUBJECTS = {
    "he": ("king", "wizard", "miller", "knight"),
    "she": ("queen", "witch", "duchess", "weaver"),
    "it": ("dragon", "fox", "raven", "toad"),
    "they": ("sailors", "children", "wolves", "giants"),
}
PRONOUNS = {name: pronoun for pronoun, names in _SUBJECTS.items() for name in names}
# A choice in each column, all equally likely and independent.
CHOICES = {
    "adjective": ("", "old ", "young ", "small ", "proud ", "sleepy ", "clever ", "kind "),
    "subject": tuple(PRONOUNS),
    "verb": ("guard", "follow", "paint", "find", "steal", "remember", "want", "hide"),
    "object": ("a ring", "the moon", "a map", "two keys", "the bread", "a song", "gold", "a boat"),
    "place": ("by the sea", "in the wood", "on the hill", "at night"),
    "act": ("sing", "dream", "laugh", "wait"),
}


def sentence(adjective: str, subject: str, verb: str, thing: str, place: str, act: str) -> str:
    """The sentence of a choice in each of `CHOICES`, with the blank that follows it."""
    pronoun = PRONOUNS[subject]
    s = "" if pronoun == "they" else "s"
    return f"the {adjective}{subject} {verb}{s} {thing} {place} and {pronoun} {act}{s}. "


def entropy_rate() -> float:
    """Nats a character of the endless text: what the best model of it reaches, 0.210 (0.303 bits).

    Different choices make different sentences and a full stop ends each, so that the text and the
    choices determine one another: the rate is the entropy of the choices over the mean length of
    a sentence. An example begins anywhere, and a model that sees it alone needs a little more.
    """
    nats = sum(np.log(len(options)) for options in CHOICES.values())
    lengths = [len(sentence(*chosen)) for chosen in itertools.product(*CHOICES.values())]
    return float(nats / np.mean(lengths))


def encode(text: str) -> np.ndarray:
    """The tokens of a text in the characters of `ALPHABET`, int32."""
    table = np.zeros(128, np.int32)
    for token, character in enumerate(ALPHABET):
        table[ord(character)] = token
    return table[np.frombuffer(text.encode("ascii"), np.uint8)]


def sentences(examples: int, seed: int) -> np.ndarray:
    """Pieces of 64 characters, one after the other, of an endless text of such sentences.

    Args:
      examples: N.
      seed: of everything.

    Returns:
      Tokens int32 `[N, 64]`, numbers in `ALPHABET`.
    """
    random = np.random.RandomState(seed)
    parts, length = [], 0
    while length < examples * LENGTH:
        chosen = [options[random.randint(len(options))] for options in CHOICES.values()]
        parts.append(sentence(*chosen))
        length += len(parts[-1])
    return encode("".join(parts)[: examples * LENGTH]).reshape(examples, LENGTH)
