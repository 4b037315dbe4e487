"""Losses: pure functions of a trace, in nats per example, as composable transforms.

Each transform adds names and overwrites none. `[B, L]` has one column per stochastic node, so that
per-layer weights and logs need nothing special; a statistic of the whole batch is a scalar.
"""

from vaejax.losses.adaptive_weight import Adaptive, gradient_ratio
from vaejax.losses.adversarial import adversarial
from vaejax.losses.aggregate_posterior import decomposition, dip
from vaejax.losses.base import event_log_prob, squared_error, stateless, sum_event
from vaejax.losses.conditional import gsnn, guess
from vaejax.losses.constraints import free_bits, geco, kl_balancing
from vaejax.losses.elbo import capacity, kl, nll, nll_optimal, node_kl, sampled_kl
from vaejax.losses.iwae import dreg, iwae
from vaejax.losses.mmd import mmd, squared_mmd
from vaejax.losses.quantization import code_entropies, vq
from vaejax.losses.sparsity import ridge, spike, ssl
from vaejax.losses.total_correlation import total_correlation

__all__ = [
    "Adaptive",
    "adversarial",
    "capacity",
    "code_entropies",
    "decomposition",
    "dip",
    "dreg",
    "event_log_prob",
    "free_bits",
    "geco",
    "gradient_ratio",
    "gsnn",
    "guess",
    "iwae",
    "kl",
    "kl_balancing",
    "mmd",
    "nll",
    "nll_optimal",
    "node_kl",
    "ridge",
    "sampled_kl",
    "spike",
    "squared_error",
    "squared_mmd",
    "ssl",
    "stateless",
    "sum_event",
    "total_correlation",
    "vq",
]
