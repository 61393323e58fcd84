"""The audit log's hash chain: each hash covers an entry and the hash before it."""

import hashlib

START = "0" * 64


def hash_after(previous: str, entry: str) -> str:
    """Hex SHA-256; `entry` is the canonical text that PostgreSQL makes of the row."""
    return hashlib.sha256(f"{previous}\n{entry}".encode()).hexdigest()
