"""Judging a model: figures of a trace, evaluation of a split, pictures."""
