"""Training: one step for every family, sharded over a mesh, resumed exactly."""
