"""All I/O of the engine: PostgreSQL statements and Redis scripts, called by name."""
