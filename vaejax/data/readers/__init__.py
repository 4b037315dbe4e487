"""Readers of stored datasets: TFDS, folders of images, npz files, arrays."""
