"""Figures, drawn from numbers and arrays."""
