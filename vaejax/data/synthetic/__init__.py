"""Datasets made on the spot: sprites, sequences, tables, sounds, sentences."""
