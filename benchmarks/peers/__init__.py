"""Training steps beside those of PyTorch, written plainly, and of pythae; see `__main__`."""
