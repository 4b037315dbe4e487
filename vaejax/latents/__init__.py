"""Bottlenecks and priors of continuous latents."""
