"""What `make run` shows: real work on loopback servers that stand in for other people's systems."""
