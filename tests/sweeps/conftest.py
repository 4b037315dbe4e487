"""Fixtures shared with the tests of training."""

from tests.training.conftest import beta_vae, source, vqvae  # noqa: F401
