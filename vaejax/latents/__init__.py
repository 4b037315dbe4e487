"""Continuous latents: bottlenecks that make a posterior from features, and priors p(z).

Bottlenecks of discrete codes are in `quantizers`.
"""
