"""Training steps of vaejax compared with PyTorch and pythae; see `__main__`."""
