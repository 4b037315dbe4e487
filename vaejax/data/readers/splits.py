"""The words that name a split, of folders and of arrays, in any case."""

__all__ = ["EVAL_WORDS", "SPLIT_WORDS", "TRAIN_WORDS"]

TRAIN_WORDS = ("train", "training")
# The first one present is 'eval'.
EVAL_WORDS = ("test", "testing", "eval", "val", "valid", "validation", "dev")
SPLIT_WORDS = (*TRAIN_WORDS, *EVAL_WORDS)
