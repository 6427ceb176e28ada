"""Which addresses are everybody's, and what a URL asks for. Pure.

Whoever names an address may be a stranger on the telephone; behind our own walls nobody expects
one. So what is not known to be public is not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final, Literal

import attrs
import httpx

Network = IPv4Network | IPv6Network
Scheme = Literal["http", "https"]

_NOT_PUBLIC_4: Final = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
        "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16",
        "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3",
        # Azure's, which answers every machine there about itself.
        "168.63.129.16/32",
    )
)  # fmt: skip
"""Source: the IANA IPv4 Special-Purpose Address Registry, and multicast and reserved space."""
_PUBLIC_6: Final = IPv6Network("2000::/3")
"""All that was ever given to anybody. Source: IANA IPv6 Address Space."""
_NOT_PUBLIC_6: Final = tuple(
    IPv6Network(text)
    # Teredo and others of the IETF, documentation twice, and 6to4, which holds an IPv4 address.
    for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
)
"""Source: the IANA IPv6 Special-Purpose Address Registry."""
_NAT64: Final = IPv6Network("64:ff9b::/96")
"""RFC 6052. What is behind it is the IPv4 address in its last 32 bits."""
_HOST_NAME: Final = re.compile(r"[a-z0-9_]([a-z0-9._-]{0,251}[a-z0-9_.])?", re.ASCII)


@attrs.frozen
class Barred(Exception):
    """Nothing is asked there. Names the host at most, and never the rest of an address."""

    why: str

    def __str__(self) -> str:
        return self.why


def is_public(address: str) -> bool:
    """Whether this address is everybody's; one that holds another is what that one is.

    Raises:
        ValueError: It is no address.

    """
    found = ip_address(address)
    if isinstance(found, IPv6Address):
        mapped = found.ipv4_mapped
        if mapped is not None:
            found = mapped
        elif found in _NAT64:
            found = IPv4Address(int(found) & 0xFFFFFFFF)
        else:
            return found in _PUBLIC_6 and not any(found in network for network in _NOT_PUBLIC_6)
    return not any(found in network for network in _NOT_PUBLIC_4)


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Addresses and networks as values.

    Raises:
        ValueError: One of them is neither.

    """
    return tuple(ip_network(text) for text in texts)


def is_within(address: str, allowed: Sequence[Network]) -> bool:
    """Whether an address is in one of these networks.

    Raises:
        ValueError: It is no address.

    """
    found = ip_address(address)
    return any(found in network for network in allowed)


@attrs.frozen
class Target:
    """What a URL asks for, and of whom."""

    url: httpx.URL = attrs.field(repr=False)
    scheme: Scheme
    host: str
    """As it is looked up: ASCII, small letters; an IPv6 address without brackets."""
    port: int

    @property
    def origin(self) -> tuple[str, str, int]:
        """Who is asked. Another origin is somebody else."""
        return self.scheme, self.host, self.port

    @property
    def path(self) -> bytes:
        """Path and query, as they are sent."""
        return self.url.raw_path


def target_of(url: str | httpx.URL, allowed: Sequence[Network] = ()) -> Target:
    """Take a URL apart. What its host's name means is judged when it is looked up.

    Args:
        url: Absolute.
        allowed: Private addresses that its owner allowed. Only these, written out as numbers, can
            be asked by `http://`.

    Raises:
        Barred: It is none that is asked.

    """
    try:
        parsed = httpx.URL(url)
        host = parsed.raw_host.decode("ascii")
    except (httpx.InvalidURL, ValueError, TypeError):
        raise Barred("it is not a URL") from None
    if parsed.userinfo:
        raise Barred("its URL has a user or a password in it")
    if not _is_host(host):
        raise Barred("its URL has no host that could be asked")
    port = parsed.port
    if port == 0:
        raise Barred("its URL has a port that nobody has")
    match parsed.scheme:
        case "https":
            return Target(parsed, "https", host, 443 if port is None else port)
        case "http" if _is_allowed_number(host, allowed):
            return Target(parsed, "http", host, 80 if port is None else port)
        case _:
            raise Barred("only https:// is asked")


def redirected(base: Target, location: str, allowed: Sequence[Network] = ()) -> Target:
    """Where a redirect leads.

    What is allowed of private addresses is for who was meant: nobody else can lead there.

    Raises:
        Barred: Nowhere that is asked.

    """
    try:
        url = base.url.join(location)
    except (httpx.InvalidURL, ValueError):
        raise Barred("it redirects to what is not a URL") from None
    if base.scheme == "https" and url.scheme == "http":
        raise Barred("it redirects from https:// to http://")
    target = target_of(url, allowed)
    # Asked again with nothing allowed, unless it is the same host.
    return target if target.origin == base.origin else target_of(url)


def _is_host(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return _HOST_NAME.fullmatch(host) is not None
    return "%" not in host


def _is_allowed_number(host: str, allowed: Sequence[Network]) -> bool:
    try:
        return is_within(host, allowed)
    except ValueError:
        return False
