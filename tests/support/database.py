"""Between transactional tests the database returns to the rows that the migrations made.

Django's own flush would also remove those rows (the default tenant, the contract's queues).
"""

from typing import Any

import psycopg
from django.db import connection

_COLUMNS = """
SELECT c.relname, array_agg(quote_ident(a.attname) ORDER BY a.attnum)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' AND c.relname <> 'django_migrations'
GROUP BY c.relname
"""
_SEQUENCES = """
SELECT quote_ident(sequencename), coalesce(last_value, start_value), last_value IS NOT NULL
FROM pg_sequences WHERE schemaname = 'public'
"""
_USED = """
SELECT quote_ident(relname), pg_relation_size(oid) > 1000000 FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND relname = ANY(%s)
  AND (relkind = 'p' OR pg_relation_size(oid) > 0)
"""


class Baseline:
    """A copy of all rows and sequences, taken once, put back by `restore`."""

    def __init__(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(_COLUMNS)
            self._tables: dict[str, list[str]] = dict(cursor.fetchall())
            cursor.execute(_SEQUENCES)
            self._sequences = cursor.fetchall()
            cursor.execute("DROP SCHEMA IF EXISTS baseline CASCADE; CREATE SCHEMA baseline")
            for table in self._tables:
                cursor.execute(f'CREATE TABLE baseline."{table}" AS TABLE public."{table}"')
            self._filled = [table for table in self._tables if self._has_rows(table)]

    def restore(self) -> None:
        """Empty all tables that were ever written to and put the first rows back, in one transaction."""
        with connection.cursor() as cursor:
            cursor.execute(_USED, [list(self._tables)])
            emptying = [
                f"TRUNCATE public.{table} CASCADE" if is_large else f"DELETE FROM public.{table}"
                for table, is_large in sorted(cursor.fetchall(), key=lambda row: not row[1])
            ]
            statements = [
                "SET session_replication_role = replica",  # no triggers, no foreign keys
                "SET lock_timeout = '10s'",
                *emptying,
                *self._copies(),
                *self._sequence_values(),
            ]
            cursor.execute(f"BEGIN; {'; '.join(statements)}; COMMIT")
            cursor.execute("RESET session_replication_role; RESET lock_timeout")

    def _copies(self) -> list[str]:
        return [
            f'INSERT INTO public."{table}" ({columns}) OVERRIDING SYSTEM VALUE '
            f'SELECT {columns} FROM baseline."{table}"'
            for table in self._filled
            for columns in (", ".join(self._tables[table]),)
        ]

    def _sequence_values(self) -> list[str]:
        return [
            f"SELECT setval('public.{name}', {value}, {str(called).lower()})"
            for name, value, called in self._sequences
        ]

    def _has_rows(self, table: str) -> bool:
        with connection.cursor() as cursor:
            cursor.execute(f'SELECT EXISTS (SELECT FROM public."{table}")')
            return bool(cursor.fetchone()[0])


def other_connection() -> psycopg.Connection[Any]:
    """A connection of somebody else to the test's database, with a transaction of its own."""
    at = connection.settings_dict
    return psycopg.connect(
        host=at["HOST"],
        port=at["PORT"] or None,
        user=at["USER"],
        password=at["PASSWORD"] or None,
        dbname=at["NAME"],
        connect_timeout=5,
    )
