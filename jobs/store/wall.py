"""The second wall between tenants: a read as a database role that sees one tenant's rows (sql/tenant_wall.sql)."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import connection, transaction

from jobs.store import postgres

_RAISE = "SELECT set_config('role', 'taskcenter_tenant', true), set_config('taskcenter.tenant_id', %s, true)"


@contextmanager
def behind(tenant_id: int) -> Iterator[None]:
    """A transaction in which a query that forgets the tenant finds nothing of another; it cannot write."""
    nested = connection.in_atomic_block
    with transaction.atomic():
        postgres.query(_RAISE, [str(tenant_id)])
        yield
        if nested:  # the setting would outlive a savepoint
            postgres.query("SELECT set_config('role', 'none', true)")


def build() -> None:
    """Make role and policies where they are missing; without the right to, the database warns."""
    with connection.cursor() as cursor:
        cursor.execute(postgres.statement("tenant_wall"))
    is_built.cache_clear()


@functools.cache
def is_built() -> bool:
    """Whether this process' role may take the tenants' role."""
    return bool(settings.TASKCENTER["TENANT_WALL"]) and is_there()


def is_there() -> bool:
    rows = postgres.query(
        "SELECT FROM pg_roles r JOIN pg_policies p ON p.policyname = 'own_tenant' AND p.tablename = 'task'"
        " WHERE r.rolname = 'taskcenter_tenant' AND pg_has_role(r.oid, 'MEMBER')"
    )
    return bool(rows)
