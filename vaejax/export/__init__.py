"""Export of trained models to files that can be read without vaejax.

Parameters are stored as safetensors, encoder and decoder as `jax.export` programs.
"""
