"""Metrics of generated samples: Fréchet distance, precision and recall, sharpness."""
