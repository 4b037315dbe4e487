"""Files that need no vaejax: safetensors, and encoder and decoder as `jax.export` programs."""
