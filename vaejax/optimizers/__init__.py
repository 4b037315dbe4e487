"""What an optax optimizer of a player can be beside optax's own."""
