"""Settings of the families that are tested with masks."""

import optax
import pytest

SGD = optax.sgd(1.0)
VAE = {"vae": ({"nll": 1.0, "kl": 1.0}, SGD)}


def some(names, slow):
    """All names as parameters; those in `slow` are run with the slow tests."""
    return [pytest.param(n, marks=[pytest.mark.slow] * (n in slow)) for n in names]
