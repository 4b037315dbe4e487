"""Metrics of generated images: Fréchet distance, precision and recall, sharpness."""

from vaejax.evaluation.generation.features import FeatureExtractor, load_feature_extractor
from vaejax.evaluation.generation.frechet import frechet_distance, moments
from vaejax.evaluation.generation.precision_recall import precision_recall
from vaejax.evaluation.generation.sample_quality import sample_quality
from vaejax.evaluation.generation.sharpness import sharpness

__all__ = [
    "FeatureExtractor",
    "frechet_distance",
    "load_feature_extractor",
    "moments",
    "precision_recall",
    "sample_quality",
    "sharpness",
]
