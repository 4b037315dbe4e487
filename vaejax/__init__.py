"""vaejax: variational autoencoders as composable losses, quantizers and players of a game."""
