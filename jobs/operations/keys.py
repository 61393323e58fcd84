"""API keys: `tc_<env>_<id>_<secret and checksum>`, shown once, stored hashed."""

import hashlib
import hmac
import secrets
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime

from jobs.domain.errors import Invalid, NotFound
from jobs.models import ApiKey
from jobs.store import postgres

SCOPES = ("submit", "read", "operate", "admin")
_ENV = "live"
_SECRET_CHARS = 43
_MOST_CHARS = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class NewKey:
    """`key` is the secret itself; this is the only time it exists in the clear."""

    id: int
    key_id: str
    key: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Who a valid key speaks for."""

    key_id: str
    name: str
    tenant_id: int
    scopes: frozenset[str]


def create(
    *,
    name: str,
    scopes: list[str],
    tenant_id: int = 1,
    expires_at: datetime | None = None,
    created_by: str = "",
) -> NewKey:
    """A new key, made by this actor. Raises Invalid for unknown or missing scopes, and for one that has expired."""
    if not name.strip() or len(name) > _MOST_CHARS:
        raise Invalid("A key's name has 1 to %(most)s characters", most=_MOST_CHARS, field="name")
    if not scopes or not set(scopes) <= set(SCOPES):
        raise Invalid("A key needs scopes", known=SCOPES, given=scopes)
    if expires_at is not None and expires_at <= datetime.now(UTC):
        raise Invalid("`expires_at` has passed already", field="expires_at")
    key_id = secrets.token_hex(6)
    secret = secrets.token_urlsafe(32)
    key = f"tc_{_ENV}_{key_id}_{secret}{_checksum(key_id, secret)}"
    row = ApiKey.objects.create(
        tenant_id=tenant_id,
        name=name,
        key_id=key_id,
        hash=_digest(key),
        created_by=created_by,
        scopes=sorted(set(scopes)),
        expires_at=expires_at,
    )
    return NewKey(id=row.pk, key_id=key_id, key=key)


def hand(actor: str) -> str:
    """Who acts in truth: for a key whoever made it, and so on; a key of the command line, or of old, for itself."""
    return str(postgres.fetch("key_maker", {"actor": actor})[0][0])


def authenticate(key: str) -> Caller | None:
    """Who this key speaks for; None for every kind of wrong key. Notes its use once a minute."""
    parts = key.split("_", 3)
    if len(parts) != 4 or parts[0] != "tc" or not _is_whole(parts[2], parts[3]):
        return None
    rows = postgres.query(
        "SELECT id, hash, name, tenant_id, scopes, last_used_at IS NULL OR last_used_at < now() - interval '1 minute'"
        " FROM api_key WHERE key_id = %s AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())",
        [parts[2]],
    )
    if not rows or not hmac.compare_digest(bytes(rows[0][1]), _digest(key)):
        return None
    id_, _, name, tenant_id, scopes, stale = rows[0]
    if stale:
        postgres.query("UPDATE api_key SET last_used_at = now() WHERE id = %s RETURNING 1", [id_])
    return Caller(key_id=parts[2], name=name, tenant_id=tenant_id, scopes=frozenset(scopes))


def revoke(key_id: str, *, tenant_id: int | None = None) -> None:
    """Raises NotFound."""
    rows = postgres.query(
        "UPDATE api_key SET revoked_at = now() WHERE key_id = %s AND revoked_at IS NULL"
        " AND (%s::int IS NULL OR tenant_id = %s) RETURNING 1",
        [key_id, tenant_id, tenant_id],
    )
    if not rows:
        raise NotFound("There is no such key", key=key_id)


def _is_whole(key_id: str, secret: str) -> bool:
    """Whether the checksum fits: typing errors and invented keys cost no look into the database."""
    return secret[_SECRET_CHARS:] == _checksum(key_id, secret[:_SECRET_CHARS])


def _checksum(key_id: str, secret: str) -> str:
    """Six hex digits; finds slips, guards nothing."""
    return f"{zlib.crc32(f'{key_id}_{secret}'.encode()) & 0xFFFFFF:06x}"


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
