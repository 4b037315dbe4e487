"""Optimizers of players besides optax's own, as gradient transformations.

Closed-form updates (EMA codebooks, EM), freezing, and skipping of large gradients. `build` makes
the optimizers of a config.
"""
