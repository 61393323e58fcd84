"""Redis Info: what the server says of itself, and what to worry about."""

from typing import Any

import redis
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop, ngettext

from jobs.lifecycle import redis_versions
from jobs.models import RedisShard
from jobs.store import keys
from jobs.store.redis import client
from queues_admin.admin.base import page

_SHOWN = {
    gettext_noop("Server"): (
        "redis_version",
        "valkey_version",
        "redis_mode",
        "uptime_in_seconds",
        "tcp_port",
    ),
    gettext_noop("Memory"): (
        "used_memory_human",
        "used_memory_peak_human",
        "maxmemory_human",
        "maxmemory_policy",
    ),
    gettext_noop("Clients"): (
        "connected_clients",
        "blocked_clients",
        "maxclients",
        "rejected_connections",
    ),
    gettext_noop("Persistence"): (
        "aof_enabled",
        "aof_last_write_status",
        "rdb_last_bgsave_status",
        "loading",
    ),
    gettext_noop("Activity"): (
        "instantaneous_ops_per_sec",
        "total_commands_processed",
        "expired_keys",
        "evicted_keys",
    ),
    gettext_noop("Replication"): ("role", "connected_slaves", "master_link_status"),
}


def redis_info(request: HttpRequest) -> HttpResponse:
    info, problem = _ask()
    sections = [
        (title, [(name, info[name]) for name in names if name in info])
        for title, names in _SHOWN.items()
    ]
    return page(
        request,
        "redis.html",
        title=_("Redis Info"),
        problem=problem,
        sections=[(_(title), facts) for title, facts in sections if facts],
        warnings=_warnings(info) if info else [],
        shard=RedisShard.objects.filter(pk="default").first(),
        held_epoch=info.get("held_epoch"),
        keyspace=[(name, value) for name, value in info.items() if name.startswith("db")],
    )


def _ask() -> tuple[dict[str, Any], str]:
    try:
        info = dict(client().info())
        info["held_epoch"] = client().get(keys.EPOCH)
    except (redis.RedisError, OSError) as error:
        return {}, f"{type(error).__name__}: {error}"
    return info, ""


def _warnings(info: dict[str, Any]) -> list[str]:
    found = []
    if redis_versions.too_old(info):
        found.append(_("This Redis is too old: at least 6.2 is needed."))
    elif redis_versions.has_hole(info):
        found.append(_("This release has a known hole in its Lua (CVE-2025-49844): update it."))
    if info.get("maxmemory_policy") != "noeviction":
        found.append(
            _("The eviction policy is %(policy)s: Redis may drop tickets. Set noeviction.")
            % {"policy": info.get("maxmemory_policy")}
        )
    if not info.get("aof_enabled"):
        found.append(
            _(
                "The append-only file is off: a restart loses tickets until they are rebuilt from PostgreSQL."
            )
        )
    if n := int(info.get("evicted_keys") or 0):
        evicted = ngettext("%(n)s key was evicted.", "%(n)s keys were evicted.", n)
        found.append(evicted % {"n": n})
    return found
