"""Which external jobs were seen already: on disk, so that memory stays bounded whatever the source's size."""

import sqlite3
from types import TracebackType


class Seen:
    """First come, first served: rows arrive in the order of their ids, so the lowest id wins."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("")  # a temporary file of SQLite's own, gone with the connection
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute("CREATE TABLE seen (digest BLOB PRIMARY KEY, id TEXT) WITHOUT ROWID")

    def first(self, digest: bytes, source_id: int) -> int:
        """The lowest id with this digest, `source_id` itself if it is the first."""
        made = self._db.execute(
            "INSERT OR IGNORE INTO seen VALUES (?, ?)", (digest, str(source_id))
        )
        if made.rowcount:
            return source_id
        [(found,)] = self._db.execute("SELECT id FROM seen WHERE digest = ?", (digest,))
        return int(found)

    def __enter__(self) -> "Seen":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._db.close()
