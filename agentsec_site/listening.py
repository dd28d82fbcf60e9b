"""The address that the site answers on, taken before anything slow happens."""

from __future__ import annotations

import errno
import ipaddress
import socket
from dataclasses import dataclass, replace

from agentsec_site.home import SetupError


@dataclass(frozen=True)
class Listener:
    """A listening socket and the address under which a browser on this machine finds it. `name` is what
    the address is called there, which passkeys need; empty where it has no name of its own.
    """

    socket: socket.socket
    host: str
    port: int
    name: str = ""

    @property
    def reach(self) -> str:
        """The host to connect to from here: a wildcard address is not one."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.host, self.host)

    @property
    def url(self) -> str:
        host = self.name or (f"[{self.reach}]" if ":" in self.reach else self.reach)
        return f"http://{host}:{self.port}"


def listen(host: str, port: int) -> Listener:
    """Take host and port (0: any free one). Raises SetupError with what to do where that fails."""
    if not 0 <= port <= 65535:  # the resolver would take it modulo 65536
        raise SetupError(f"--port {port}: a port is a number from 0 to 65535")
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror:
        raise SetupError(f"--host {host}: no such address on this machine") from None
    taken = socket.socket(family, kind)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(address)
        taken.listen(2048)
    except OSError as error:
        taken.close()
        raise SetupError(_why(error, host, port)) from None
    found = Listener(socket=taken, host=host, port=taken.getsockname()[1])
    return replace(found, name=_name(found))


def _name(listener: Listener) -> str:
    """A browser tries ::1 first for `localhost`: where somebody else answers there, the name is not ours."""
    if listener.reach != "127.0.0.1":
        return ""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.settimeout(0.5)
            return "" if probe.connect_ex(("::1", listener.port)) == 0 else "localhost"
    except OSError:
        return "localhost"  # this machine speaks no IPv6


def _why(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is in use; stop what uses it or choose another with --port"
    if error.errno == errno.EACCES:
        return f"port {port} needs rights that this user lacks; choose one above 1023 with --port"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"--host {host}: no such address on this machine"
    return f"cannot listen on {host} port {port}: {error.strerror}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the host; a name counts only where it is `localhost`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
