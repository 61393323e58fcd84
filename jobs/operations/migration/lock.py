"""One migration at a time, however many processes and hosts try."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

_KEY = 0x7C_6D_69_67_72_61_74_65


@contextmanager
def only_one() -> Iterator[bool]:
    """Whether nobody else migrates; if so, nobody else will until the end of the block.

    An advisory lock of a transaction on a connection of its own: it goes with the process, however that ends, and
    holds behind a PgBouncer. Should the connection break midway, rows are still migrated once: their keys see to it.
    """
    held = connection.copy()
    try:
        held.set_autocommit(False)
        with held.cursor() as cursor:
            cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_KEY])
            mine = bool(cursor.fetchone()[0])
        yield mine
    finally:
        held.close()
