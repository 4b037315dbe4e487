"""Topologies: how networks and bottlenecks make `(params, batch, key) -> Trace`."""

from vaejax.models.autoencoder import autoencoder

__all__ = ["autoencoder"]
