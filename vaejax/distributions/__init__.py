"""The few densities that VAEs need, as pytrees with `sample`, `log_prob`, `mean`, and `kl`.

Everything is elementwise and in nats: `log_prob(x)` keeps the shape of x, except that a mixture
over channels or over latents consumes their axis. Summing over the event is the losses' work.
"""

from vaejax.distributions.composite import Masked, Mixture, Sampled, draw
from vaejax.distributions.delta import Point
from vaejax.distributions.discretized import DiscretizedLogistic, DiscretizedLogisticMixture
from vaejax.distributions.elementary import LOG_2PI, Bernoulli, Categorical, Normal, Uniform
from vaejax.distributions.flatten import as_rows
from vaejax.distributions.kl import closed_form, has_closed_form, kl
from vaejax.distributions.multivariate import MultivariateNormal
from vaejax.distributions.one_hot_codes import Codes
from vaejax.distributions.protocol import STATIC, Distribution

__all__ = [
    "LOG_2PI",
    "STATIC",
    "Bernoulli",
    "Categorical",
    "Codes",
    "DiscretizedLogistic",
    "DiscretizedLogisticMixture",
    "Distribution",
    "Masked",
    "Mixture",
    "MultivariateNormal",
    "Normal",
    "Point",
    "Sampled",
    "Uniform",
    "as_rows",
    "closed_form",
    "draw",
    "has_closed_form",
    "kl",
]
