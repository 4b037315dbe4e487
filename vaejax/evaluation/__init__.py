"""Metrics and other numbers of trained models: likelihoods, disentanglement, sample quality.

Also the arrays that figures show: reconstructions, traversals, interpolations, predictions. Nothing
is drawn here.
"""

from vaejax.evaluation import disentanglement, generation
from vaejax.evaluation.annealed_importance_sampling import (
    annealed_importance_sampling,
    bidirectional_monte_carlo,
)
from vaejax.evaluation.bitrate import bits_of_codes, first_levels
from vaejax.evaluation.conditional import conditional_nll, elbo_per_class
from vaejax.evaluation.conditional_samples import (
    condition_batch,
    sample_per_condition,
    vary_condition,
    vary_latent,
)
from vaejax.evaluation.context import EvaluationContext
from vaejax.evaluation.evaluate import evaluator
from vaejax.evaluation.image_errors import mean_error
from vaejax.evaluation.imputation import imputer
from vaejax.evaluation.ladder_layers import layer_kl, reconstruct_from_top, resample_lower_layers
from vaejax.evaluation.latent_space import interpolate, principal_plane, vector_node
from vaejax.evaluation.likelihood import importance_sampled, log_likelihood
from vaejax.evaluation.metric import Metric, compute_metrics
from vaejax.evaluation.model_shapes import is_conditional, latent_shapes
from vaejax.evaluation.mutual_information import mutual_information_of_split
from vaejax.evaluation.options import AnnealingOptions, EvaluateOptions
from vaejax.evaluation.rate_distortion import annealed_metrics
from vaejax.evaluation.reconstructions import reconstruct
from vaejax.evaluation.sampled_events import sampled_events
from vaejax.evaluation.sequence_prediction import horizon_errors, jumpy_predictions, predict
from vaejax.evaluation.signal_quality import psnr, si_sdr, ssim
from vaejax.evaluation.sparse_factors import top_columns
from vaejax.evaluation.traversals import traverse
from vaejax.evaluation.two_stage import two_stage_metrics

__all__ = [
    "AnnealingOptions",
    "EvaluateOptions",
    "EvaluationContext",
    "Metric",
    "annealed_importance_sampling",
    "annealed_metrics",
    "bidirectional_monte_carlo",
    "bits_of_codes",
    "compute_metrics",
    "condition_batch",
    "conditional_nll",
    "disentanglement",
    "elbo_per_class",
    "evaluator",
    "first_levels",
    "generation",
    "horizon_errors",
    "importance_sampled",
    "imputer",
    "interpolate",
    "is_conditional",
    "jumpy_predictions",
    "latent_shapes",
    "layer_kl",
    "log_likelihood",
    "mean_error",
    "mutual_information_of_split",
    "predict",
    "principal_plane",
    "psnr",
    "reconstruct",
    "reconstruct_from_top",
    "resample_lower_layers",
    "sample_per_condition",
    "sampled_events",
    "si_sdr",
    "ssim",
    "top_columns",
    "traverse",
    "two_stage_metrics",
    "vary_condition",
    "vary_latent",
    "vector_node",
]
