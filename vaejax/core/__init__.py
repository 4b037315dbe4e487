"""What every room builds on: the game, the registry, schedules, batch fields, keys, sharding."""
