"""The embedded stack: PostgreSQL and Redis from wheels, and what `make run` starts on them."""
