"""Convolutions in the forms that are fast on each backend."""
