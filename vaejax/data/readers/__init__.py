"""Readers of existing data: TFDS datasets, folders of image files, .npz files, arrays."""
