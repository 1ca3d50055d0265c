"""Addresses of clients: lists of networks, and the part of an address that limits count by."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

from ordinaut_ext_observability.settings.types import EVERYWHERE, Network

_MAX_REMEMBERED_HOSTS = 1024
_MAX_ADDRESS_LENGTH = 64  # an IPv6 address with its zone; behind a proxy it may be any text that a client wrote
_IPV6_NETWORK_BITS = 64  # what one customer of a provider has at least


class AddressList:
    """A setting's networks; whether an address is in one of them is remembered for 1024 addresses."""

    def __init__(self, networks: tuple[Network, ...]) -> None:
        self.is_everywhere = networks == EVERYWHERE
        self._networks = networks
        self._holds_host = lru_cache(_MAX_REMEMBERED_HOSTS)(self._look_up)

    def holds(self, client: tuple[str, int] | None) -> bool:
        """False for a client without an address, such as one on a Unix socket, unless every address is in."""
        return self.is_everywhere or (client is not None and self._holds_host(client[0][:_MAX_ADDRESS_LENGTH]))

    def _look_up(self, host: str) -> bool:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network or address in network for network in self._networks)


def network_of(host: str) -> str:
    """The part of an address that one client cannot change at will: IPv4 as it is, of IPv6 the first 64 bits.

    Text that is no address has the empty network.
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
