"""Fairness among clients: who gives way when all places are taken."""

import ipaddress
from collections import Counter


def client_of(host):
    """Return whom an address stands for: itself, or of IPv6 the /64 network that one subscriber has (RFC 6177)."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.version == 4:
        return host
    return str(address.ipv4_mapped or ipaddress.ip_network((int(address) >> 64 << 64, 64)))


def first_of_the_busiest(holders):
    """Return the first of the holders of the client that has most of them, and how many each client has.

    Longest queue drop (Suter et al., INFOCOM 1998): whoever holds most loses first, so that nobody keeps others
    out by holding much, and no share has to be set.

    Args:
        holders: {holder: client}, the one that has waited longest first.
    """
    counts = Counter(holders.values())
    if not counts:
        return None, counts
    busiest = max(counts, key=counts.get)
    return next(holder for holder, client in holders.items() if client == busiest), counts
