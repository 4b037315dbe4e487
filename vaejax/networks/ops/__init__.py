"""Convolutions of images and signals, in the implementation that is fast on each backend.

They are functions of arrays with JAX's and XLA's semantics and do not depend on Flax.
"""
