"""The distributions of VAEs, as pytrees with `mean`, `sample` and `log_prob`, and their KL.

Log-densities are in nats and elementwise: `log_prob(x)` has the shape of x, except that densities
over whole pixels or vectors reduce the axes of one value. Losses sum over the event.
"""

from vaejax.core.distribution import (
    STATIC,
    Capabilities,
    Discrete,
    Distribution,
    Quantized,
    capabilities_of,
    is_discrete,
    is_quantized,
)
from vaejax.distributions.affine import Affine, in_base_units, in_units
from vaejax.distributions.classes import ClassAverage, LabelPosterior
from vaejax.distributions.composite import (
    Masked,
    Mixture,
    MonteCarloKL,
    modelled_elements,
    modelled_size,
    sample_with_temperature,
)
from vaejax.distributions.delta import Delta
from vaejax.distributions.discretized import DiscretizedLogistic, DiscretizedLogisticMixture
from vaejax.distributions.elementary import LOG_2PI, Bernoulli, Categorical, Normal, Uniform
from vaejax.distributions.flatten import as_rows
from vaejax.distributions.kl import has_closed_form, kl, register_kl
from vaejax.distributions.laplace import DiscretizedLaplace, Laplace
from vaejax.distributions.missing import WithMissing, elements_present, with_missing
from vaejax.distributions.mixed import Mixed, category_columns
from vaejax.distributions.multivariate import MultivariateNormal
from vaejax.distributions.of_vector import OfVector
from vaejax.distributions.one_hot_codes import OneHotCodes
from vaejax.distributions.support import Support, support_of

__all__ = [
    "LOG_2PI",
    "STATIC",
    "Affine",
    "Bernoulli",
    "Capabilities",
    "Categorical",
    "ClassAverage",
    "Delta",
    "Discrete",
    "DiscretizedLaplace",
    "DiscretizedLogistic",
    "DiscretizedLogisticMixture",
    "Distribution",
    "LabelPosterior",
    "Laplace",
    "Masked",
    "Mixed",
    "Mixture",
    "MonteCarloKL",
    "MultivariateNormal",
    "Normal",
    "OfVector",
    "OneHotCodes",
    "Quantized",
    "Support",
    "Uniform",
    "WithMissing",
    "as_rows",
    "capabilities_of",
    "category_columns",
    "elements_present",
    "has_closed_form",
    "in_base_units",
    "in_units",
    "is_discrete",
    "is_quantized",
    "kl",
    "modelled_elements",
    "modelled_size",
    "register_kl",
    "sample_with_temperature",
    "support_of",
    "with_missing",
]
