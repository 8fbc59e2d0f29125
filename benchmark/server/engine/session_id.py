"""The id of a session that lives across requests: `<uuid4>.<address>-<port>`.

The second part names the worker that owns the session, by its own port, as the load balancer knows it.
Envoy reads the same format (envoy/owner.lua), so an id has no characters that a URL would encode.
"""

import ipaddress
import re
import uuid

SESSION_ID = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
    r"\.(?P<address>[0-9a-f._]{2,45})-(?P<port>[1-9][0-9]{0,4})"
)
MAX_PORT = 65_535


def make(ip: str, own_port: int) -> str:
    """A new id. Nobody can guess it: `uuid4` has 122 random bits."""
    return f"{uuid.uuid4()}.{_canonical(ip).replace(':', '_')}-{own_port}"


def owner(session_id: str) -> tuple[str, int] | None:
    """The address and the own port of the worker; None for text that `make` did not return."""
    match = SESSION_ID.fullmatch(session_id)
    if match is None:
        return None
    ip, port = match["address"].replace("_", ":"), int(match["port"])
    try:
        return (ip, port) if port <= MAX_PORT and _canonical(ip) == ip else None
    except ValueError:
        return None


def _canonical(ip: str) -> str:
    """The address as Envoy writes it. A socket that listens on `::` reports IPv4 as `::ffff:…`."""
    address = ipaddress.ip_address(ip.partition("%")[0])
    mapped = address.ipv4_mapped if address.version == 6 else None
    return str(mapped or address)
