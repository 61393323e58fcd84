"""Which addresses may be called: resolve once, check every address, connect to what was checked."""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import idna

from jobs.domain.errors import Invalid, Unavailable

Resolver = Callable[[str, int], Awaitable[list[str]]]


class TargetRefused(Invalid):
    """This address may not be called."""

    code = "target_refused"


class Unresolvable(Unavailable):
    """The host's name cannot be resolved."""

    code = "unresolvable"


# ipaddress calls these global in some of the Pythons we run on (special-purpose registries, RFC 6890).
_NOT_PUBLIC_4 = tuple(
    IPv4Network(net) for net in ("192.0.0.0/24", "192.88.99.0/24", "100.64.0.0/10", "240.0.0.0/4")
)
_PUBLIC_6 = IPv6Network("2000::/3")
_NOT_PUBLIC_6 = tuple(
    IPv6Network(net) for net in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
)
_AUTHORITY = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9_-][a-z0-9_.-]*)(:(?P<port>[0-9]{0,5}))?")
_PORTS = {"http": 80, "https": 443}
_NAT64 = IPv6Network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Whether an address is global unicast, also when an IPv4 address is wrapped in an IPv6 one."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address):
        wrapped = ip.ipv4_mapped
        if wrapped is None and ip in _NAT64:
            wrapped = IPv4Address(int(ip) & 0xFFFFFFFF)
        return _public_6(ip) if wrapped is None else _public_4(wrapped)
    return _public_4(ip)


def _public_4(ip: IPv4Address) -> bool:
    return ip.is_global and not ip.is_multicast and not any(ip in net for net in _NOT_PUBLIC_4)


def _public_6(ip: IPv6Address) -> bool:
    return ip in _PUBLIC_6 and ip.is_global and not any(ip in net for net in _NOT_PUBLIC_6)


def is_inner(host: str) -> bool:
    """Whether a host says without any look-up that it is no public address; names to be resolved say nothing."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return not is_public(name)
    except ValueError:
        pass
    try:
        return not is_public(socket.inet_ntoa(socket.inet_aton(name)))
    except OSError:
        return False


def split(url: str) -> tuple[str, str, int]:
    """(scheme, host in ASCII, port) of a URL that we would call. Raises TargetRefused."""
    if any(ord(c) < 33 or "\ud800" <= c <= "\udfff" for c in url):
        raise TargetRefused("The address contains blanks, control characters or half characters")
    scheme, sep, rest = url.partition("://")
    scheme = scheme.lower()
    authority = rest.partition("/")[0].partition("?")[0].partition("#")[0]
    if not sep or scheme not in ("http", "https"):
        raise TargetRefused("Only http:// and https:// addresses are called")
    if "@" in authority or "\\" in authority or "%" in authority:
        raise TargetRefused("The address carries a user name or an escaped host")
    try:
        found = _AUTHORITY.fullmatch(_ascii_authority(authority))
    except UnicodeError as error:
        raise TargetRefused("The address has no valid host") from error
    if found is None or not _is_host(found["host"]):
        raise TargetRefused("The address has no valid host")
    port = int(found["port"] or _PORTS[scheme])
    if not 0 < port <= 65_535:
        raise TargetRefused("The address has no valid host and port")
    return scheme, found["host"].strip("[]"), port


def _ascii_authority(authority: str) -> str:
    """Lower case; what isn't ASCII by IDNA 2008. Raises UnicodeError."""
    if authority.isascii():
        return authority.lower()
    host, colon, port = authority.partition(":")
    return idna.encode(host, uts46=True).decode("ascii") + colon + port


def _is_host(host: str) -> bool:
    """Other readers of URLs stumble over brackets without an address and over xn-- without a name."""
    try:
        if host.startswith("["):
            ipaddress.IPv6Address(host[1:-1])
        for label in host.split("."):
            if label.startswith("xn--"):
                idna.decode(label)
    except (ValueError, UnicodeError):
        return False
    return True


async def resolve_host(
    host: str, port: int, *, allow_private: bool, resolver: Resolver | None = None
) -> list[str]:
    """The checked addresses of a host name or of an address in any spelling."""
    try:
        ips = await (resolver or system_resolver)(host, port)
    except (OSError, UnicodeError) as error:
        raise Unresolvable(f"The host {host!r} cannot be resolved", host=host) from error
    if not ips:
        raise Unresolvable(f"The host {host!r} has no address", host=host)
    if not allow_private and not all(is_public(ip) for ip in ips):
        raise TargetRefused(f"The host {host!r} is not a public address", host=host)
    return ips


async def system_resolver(host: str, port: int) -> list[str]:
    """getaddrinfo, which also reads `127.1`, `0x7f000001` and `2130706433`."""
    found = await asyncio.get_running_loop().getaddrinfo(
        host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
    )
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
