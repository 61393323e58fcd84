"""Thousands of tenants and floods of tasks, made in bulk."""

from jobs.store import catalog, postgres


def tenants(count: int) -> None:
    """Tenants t1, t2, … with six queues each."""
    postgres.query(
        "INSERT INTO tenant (slug, name, created_at) SELECT 't' || n, '', now()"
        " FROM generate_series(1, %s) n RETURNING 1",
        [count],
    )
    postgres.query(
        "INSERT INTO queue (name, tenant_id, base_id, weight, capacity, level, paused, paused_reason)"
        " SELECT t.slug || ':' || b.name, t.id, b.id, b.weight, b.capacity, 0, false, ''"
        " FROM tenant t, queue b WHERE t.id > 1 AND b.base_id IS NULL RETURNING 1"
    )
    catalog.stale()


def tasks(queue: str, count: int) -> None:
    """Pending rows without tickets, as after a loss of Redis; never to be claimed (they have no facts)."""
    row = catalog.queues(fresh=True).get(queue)
    postgres.query(
        "INSERT INTO task (id, ord, queue_id, tenant_id, token, ticket, flags, runs, retried, max_retries, crashes,"
        " cycle, state, status, lane, cancel, progress, credits, retention_s) SELECT gen_random_uuid(),"
        " (extract(epoch FROM now()) * 1e6)::bigint + n, %s, %s, 0, 0, 0, 0, 0, 3, 0, 0, 1, 0, 0, 0, 0, 0, 60"
        " FROM generate_series(1, %s) n RETURNING 1",
        [row.id, row.tenant_id, count],
    )
    postgres.query(
        "INSERT INTO queue_stat (queue_id, metric, n, as_of) VALUES (%s, 1, %s, now())"
        " ON CONFLICT (queue_id, metric) DO UPDATE SET n = queue_stat.n + excluded.n RETURNING 1",
        [row.id, count],
    )
