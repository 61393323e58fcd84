"""Reading a table of PostgreSQL, MySQL or SQLite in pages by key; nothing is ever written there."""

import hashlib
import importlib
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import psycopg
from psycopg.adapt import Loader

from jobs.domain.errors import Misconfigured, Unavailable

_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_$]{0,127}(\.[A-Za-z_][A-Za-z0-9_$]{0,127})?")
_MYSQL_DECIMALS = (0, 246)
_CONNECT_S = 10
_READ_S = 300

Page = list[tuple[int, dict[str, Any]]]


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """`capped` reads at most so many characters or bytes of a column, whatever its type; `utc` sets times to UTC."""

    quote: str
    mark: str
    capped: str
    errors: tuple[type[Exception], ...]
    utc: tuple[str, ...] = ()

    def quoted(self, name: str) -> str:
        return ".".join(f"{self.quote}{part}{self.quote}" for part in name.split("."))


class Source:
    """One table. `label` names it without user and password, `mark` is a short hash of that name."""

    def __init__(self, connection: Any, dialect: Dialect, table: str, label: str) -> None:
        self._connection = connection
        self._dialect = dialect
        self._table = dialect.quoted(table)
        self.table = table
        self.label = label
        self.mark = hashlib.sha256(f"{label}#{table}".encode()).hexdigest()[:12]

    def columns(self) -> set[str]:
        cursor = self._execute(f"SELECT * FROM {self._table} WHERE 1 = 0")
        return {str(column[0]) for column in cursor.description}

    def span(self, id_column: str) -> tuple[int, int | None]:
        """How many rows there are up to the highest id, and that id; rows that come later are not ours."""
        column = self._dialect.quoted(id_column)
        [(upto,)] = self._execute(f"SELECT max({column}) FROM {self._table}").fetchall()
        if upto is None:
            return 0, None
        if not isinstance(upto, int):
            raise Misconfigured(f"{self.table}.{id_column} must be a whole number in every row")
        where = f"{column} <= {self._dialect.mark}"
        sql = f"SELECT count(*) FROM {self._table} WHERE {where}"
        [(total,)] = self._execute(sql, [upto]).fetchall()
        return int(total), upto

    def pages(
        self, id_column: str, caps: Mapping[str, int], upto: int, size: int
    ) -> Iterator[Page]:
        """All rows up to `upto` in the order of their ids; each page is a query of its own (keyset)."""
        column, mark = self._dialect.quoted(id_column), self._dialect.mark
        names = list(caps)
        picked = [
            self._dialect.capped.format(c=self._dialect.quoted(name), n=cap + 1)
            for name, cap in caps.items()
        ]
        select = (
            f"SELECT {', '.join([column, *picked])} FROM {self._table} WHERE {column} <= {mark}"
        )
        after: int | None = None
        while True:
            where, params = (
                ("", [upto]) if after is None else (f" AND {column} > {mark}", [upto, after])
            )
            sql = f"{select}{where} ORDER BY {column} LIMIT {size}"
            rows = self._execute(sql, params).fetchall()
            if not rows:
                return
            yield [(row[0], dict(zip(names, row[1:], strict=True))) for row in rows]
            after = rows[-1][0]

    def in_utc(self) -> None:
        """From now on times are read and compared in UTC."""
        for sql in self._dialect.utc:
            self._execute(sql)

    def changed(
        self, order: tuple[str, str], columns: Sequence[str], after: Sequence[Any] | None, size: int
    ) -> list[tuple[Any, ...]]:
        """Rows beyond `after`, a value for each of the two columns of `order`, in that order; the two stand first.

        Values are as the driver gives them. Rows with a null in either of the two are left out.
        """
        high, low = (self._dialect.quoted(name) for name in order)
        mark, params = self._dialect.mark, list[Any]()
        where = f"{high} IS NOT NULL AND {low} IS NOT NULL"
        if after is not None:  # the first half is what an index is entered by
            where += f" AND {high} >= {mark} AND ({high} > {mark} OR {low} > {mark})"
            params = [after[0], after[0], after[1]]
        picked = ", ".join([high, low, *(self._dialect.quoted(name) for name in columns)])
        sql = (
            f"SELECT {picked} FROM {self._table} WHERE {where} ORDER BY {high}, {low} LIMIT {size}"
        )
        return [tuple(row) for row in self._execute(sql, params).fetchall()]

    def _execute(self, sql: str, params: Sequence[Any] | None = None) -> Any:
        cursor = self._connection.cursor()
        try:
            cursor.execute(sql, params or ())
        except self._dialect.errors as error:
            raise Unavailable(f"The source {self.label} refused a query: {error}") from error
        return cursor


@contextmanager
def open_source(url: str, table: str) -> Iterator[Source]:
    """The table behind a `postgresql://`, `mysql://` or `sqlite:///path` URL. Raises Misconfigured, Unavailable."""
    if not _TABLE.fullmatch(table):
        raise Misconfigured(f"{table!r} is no name of a table")
    parts = urlsplit(url)
    opener = {"postgres": _postgres, "postgresql": _postgres, "mysql": _mysql, "sqlite": _sqlite}
    if parts.scheme not in opener:
        raise Misconfigured("The source is a postgresql://, mysql:// or sqlite:/// URL")
    label = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    try:
        connection, dialect = opener[parts.scheme](parts, url)
    except (psycopg.Error, sqlite3.Error, OSError) as error:
        raise Unavailable(f"The source {label} cannot be opened: {_said(error, parts)}") from None
    try:
        yield Source(connection, dialect, table, label)
    finally:
        connection.close()


def _said(error: Exception, parts: SplitResult) -> str:
    """The error's words; some drivers repeat the URL or its password in them."""
    words = " ".join(str(error).split())
    for secret in (parts.geturl(), parts.password, unquote(parts.password or "")):
        words = words.replace(secret, "********") if secret else words
    return words


class _Bytes(Loader):
    """Text as the server sent it: nothing is decoded before we look."""

    def load(self, data: Any) -> bytes:
        return bytes(data)


def _postgres(_: SplitResult, url: str) -> tuple[Any, Dialect]:
    connection = psycopg.connect(
        url,
        autocommit=True,
        connect_timeout=_CONNECT_S,
        client_encoding="UTF8",
        application_name="migrate",
    )
    connection.execute("SET default_transaction_read_only = on")
    if connection.info.parameter_status("server_encoding") == "SQL_ASCII":
        connection.execute(
            "SET client_encoding = 'SQL_ASCII'"
        )  # any bytes: the server must not check
    connection.adapters.register_loader("text", _Bytes)
    capped = "left({c}::text, {n})"
    utc = ("SET TIME ZONE 'UTC'", f"SET statement_timeout = '{_READ_S}s'")
    return connection, Dialect(
        quote='"', mark="%s", capped=capped, errors=(psycopg.Error,), utc=utc
    )


def _mysql(parts: SplitResult, _: str) -> tuple[Any, Dialect]:
    try:
        pymysql = importlib.import_module("pymysql")
    except ImportError as error:
        raise Misconfigured("A MySQL source needs the package PyMySQL") from error
    try:
        connection = pymysql.connect(
            host=parts.hostname or "127.0.0.1",
            port=parts.port or 3306,
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            database=unquote(parts.path.strip("/")),
            charset="utf8mb4",
            use_unicode=False,
            conv={**pymysql.converters.conversions, **dict.fromkeys(_MYSQL_DECIMALS, _decimal)},
            autocommit=True,
            connect_timeout=_CONNECT_S,
            read_timeout=_READ_S,
            init_command="SET SESSION TRANSACTION READ ONLY",
        )
    except pymysql.MySQLError as error:
        raise OSError(str(error)) from error
    capped = "left({c}, {n})"
    utc = ("SET time_zone = '+00:00'",)
    errors = (pymysql.MySQLError,)
    return connection, Dialect(quote="`", mark="%s", capped=capped, errors=errors, utc=utc)


def _decimal(raw: bytes) -> Decimal:
    """PyMySQL's own reads text only, and we read bytes."""
    return Decimal(raw.decode())


def _sqlite(parts: SplitResult, _: str) -> tuple[Any, Dialect]:
    path = Path(unquote(parts.netloc + parts.path))
    if not path.is_file():
        raise Misconfigured(f"There is no SQLite file {path}")
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_CONNECT_S
    )
    connection.text_factory = bytes
    capped = "substr(CAST({c} AS BLOB), 1, {n})"
    return connection, Dialect(quote='"', mark="?", capped=capped, errors=(sqlite3.Error,))
