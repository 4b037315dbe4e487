"""Losses: pure functions of a trace, in nats per example, as composable transforms.

Each transform adds names and overwrites none. `[B, L]` has one column per stochastic node, so that
per-layer weights and logs need nothing special; a statistic of the whole batch is a scalar.
"""

from vaejax.losses.codes import vq
from vaejax.losses.elbo import capacity, kl, nll, node_kl
from vaejax.losses.transform import stateless, sum_event

__all__ = ["capacity", "kl", "nll", "node_kl", "stateless", "sum_event", "vq"]
