"""The words that name a split, of folders and of arrays, in any case."""

from collections.abc import Iterable

__all__ = ["EVAL_WORDS", "SPLIT_WORDS", "TRAIN_WORDS", "VALIDATION_WORDS", "spare_splits"]

TRAIN_WORDS = ("train", "training")
# The first one present is 'eval'.
EVAL_WORDS = ("test", "testing", "eval", "val", "valid", "validation", "dev")
SPLIT_WORDS = (*TRAIN_WORDS, *EVAL_WORDS)
# The first one that is not 'eval' is 'validation'.
VALIDATION_WORDS = ("validation", "val", "valid", "dev")


def spare_splits(names: Iterable[str]) -> tuple[str, ...]:
    """The names, in lower case, of splits that are used neither as 'train' nor as 'eval'.

    Args:
      names: of the splits that data have, in lower case.
    """
    held_out = [word for word in EVAL_WORDS if word in set(names)]
    return tuple(held_out[1:])
