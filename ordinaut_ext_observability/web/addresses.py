"""Lists of client addresses: who may set ids, who may scrape."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

EVERYWHERE: tuple[Network, ...] = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
_MAX_REMEMBERED_HOSTS = 1024
_MAX_ADDRESS_LENGTH = 64  # an IPv6 address with its zone; behind a proxy it may be any text that a client wrote
_IPV6_NETWORK_BITS = 64  # what one customer of a provider has at least


@dataclass(slots=True)
class AddressList:
    """Whether a client's address is in one of some networks; answers are remembered for 1024 addresses."""

    networks: tuple[Network, ...]
    is_everywhere: bool = field(init=False)
    _remembered: dict[str, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.is_everywhere = self.networks == EVERYWHERE

    def holds(self, client: tuple[str, int] | None) -> bool:
        """False for a client without an address, such as one on a Unix socket, unless every address is in."""
        if self.is_everywhere:
            return True
        host = client[0][:_MAX_ADDRESS_LENGTH] if client else ""
        known = self._remembered.get(host)
        if known is None:
            if len(self._remembered) >= _MAX_REMEMBERED_HOSTS:
                self._remembered.clear()
            known = self._remembered[host] = self._look_up(host)
        return known

    def _look_up(self, host: str) -> bool:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network or address in network for network in self.networks)


def network_of(host: str) -> str:
    """The part of an address that one client cannot change at will: IPv4 as it is, of IPv6 the first 64 bits.

    What is no address has the same empty network.
    """
    try:
        address = ipaddress.ip_address(host[:_MAX_ADDRESS_LENGTH])
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Address(int(address) >> _IPV6_NETWORK_BITS << _IPV6_NETWORK_BITS))


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Networks from CIDR notation or single addresses.

    Raises:
        ValueError: a text is neither.
    """
    return tuple(ipaddress.ip_network(text.strip(), strict=False) for text in texts)
