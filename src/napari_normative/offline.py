"""The promise of ``--offline``: nothing is sent beyond this machine, and nobody is let in.

Python tells an audit hook of every connection, look-up and port before it is made; the hook
here refuses what leads beyond this machine. Loopback, the machine's own addresses and Unix
sockets stay free: data workers, trainings on several devices and local clusters need them.

What the hook cannot see: sockets that a library opens in C. In this package these are torch's,
for trainings on several devices; they are told to keep to loopback.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from napari_normative.errors import NetworkError

VARIABLE = "NAPARI_NORMATIVE_OFFLINE"
"""Set for the programs that are started; they refuse once they import this package."""

ONLINE = "This program works offline. Put --online before the command if it may use the network."

_FAMILIES = {"AF_UNIX", "AF_NETLINK", "AF_ALG", "AF_SYSTEM"}
"""Sockets that never leave the machine."""

_NAMES = {"", "localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"}

_FREE_PORT_SEARCHES = {"find_free_network_port", "find_free_port", "get_free_port"}
"""Functions of lightning and torch that bind any address to learn of a free port, and close it."""

_JUDGED = {
    "socket.connect": 1,
    "socket.sendto": 1,
    "socket.sendmsg": 1,
    "socket.bind": 1,
    "socket.getaddrinfo": 0,
    "socket.gethostbyname": 0,
    "socket.gethostbyaddr": 0,
    "socket.getnameinfo": 0,
}
"""Audit events, and which of their arguments is the address or name."""

_refusing = False
_installed = False


def asked_for() -> bool:
    """Whether the environment of this process asks for offline work."""
    return os.environ.get(VARIABLE, "").strip().lower() in {"1", "true", "yes", "on", "t", "y"}


def refuse() -> None:
    """Refuse every connection beyond this machine from now on, in this process."""
    global _refusing, _installed
    _refusing = True
    if not _installed:  # a hook stays for the life of the process
        sys.addaudithook(_judge)
        _installed = True


@contextmanager
def offline(wanted: bool = True) -> Iterator[None]:
    """Refuse connections beyond this machine, here and in the programs started meanwhile.

    Parameters
    ----------
    wanted : bool
        False allows them, also where the environment asks to refuse.

    Raises
    ------
    NetworkError
        ``NET-001`` at an attempt to connect or look up a name, ``NET-002`` to listen. It is an
        ``OSError`` too, so that libraries treat it as any network that is down.
    """
    global _refusing
    before = _refusing, {name: os.environ.get(name) for name in (VARIABLE, *_interfaces())}
    os.environ[VARIABLE] = str(int(wanted))
    if wanted:
        for name, interface in _interfaces().items():
            os.environ.setdefault(name, interface)
        refuse()
    else:
        _refusing = False
    try:
        yield
    finally:
        _refusing = before[0]
        for name, value in before[1].items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _interfaces() -> dict[str, str]:
    """Return what keeps torch's own sockets (gloo, NCCL) on loopback."""
    names = {"linux": "lo", "darwin": "lo0"}
    if sys.platform not in names:
        return {}
    return dict.fromkeys(("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"), names[sys.platform])


def _judge(event: str, arguments: tuple[Any, ...]) -> None:
    """Raise when an event leads beyond this machine; called by Python for every event."""
    if not _refusing or event not in _JUDGED:
        return
    place = arguments[_JUDGED[event]]
    if isinstance(arguments[0], str | bytes | tuple) or arguments[0] is None:
        host = place[0] if isinstance(place, tuple) else place  # a look-up
    elif place is None or arguments[0].family.name in _FAMILIES:
        return  # a socket that is connected already, or one of this machine
    else:
        host = place[0] if isinstance(place, tuple) else place
    name = host.decode(errors="replace") if isinstance(host, bytes) else str(host or "")
    if event == "socket.bind":
        if not (_is_loopback(name) or _looks_for_a_port(place)):
            where = name or "any address"
            raise NetworkError(
                "NET-002", f"listening to other machines was refused ({where})", ONLINE
            )
    elif not _is_here(name):
        raise NetworkError(
            "NET-001", f"a connection beyond this machine was refused ({name})", ONLINE
        )


def _is_loopback(name: str) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return bool(name) and name.lower() in _NAMES


def _is_here(name: str) -> bool:
    import ipaddress
    import socket

    if name.lower() in _NAMES or name == socket.gethostname():
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    if address.is_loopback or address.is_unspecified:
        return True
    import psutil

    own = {a.address for addresses in psutil.net_if_addrs().values() for a in addresses}
    return str(address) in own


def _looks_for_a_port(place: object) -> bool:
    return (
        isinstance(place, tuple)
        and place[1] == 0
        and sys._getframe(2).f_code.co_name in _FREE_PORT_SEARCHES
    )
