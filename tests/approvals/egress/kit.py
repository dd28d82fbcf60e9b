"""A way out on loopback: a listener as the sandbox's init opens it, a proxy behind it, a log of its own."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from approvals.egress import wayout
from approvals.egress.gate import Told
from approvals.egress.wayout import WayOut
from approvals.sandbox import Job, Limits
from traces.problems import Forbidden

SECRETS = {"api-key": 'sk-Tr0ub4dor&3/"x"', "other": "another-secret-value"}


@dataclass
class Noted:
    """A gate that holds until it is shut, and keeps what it is told."""

    told: list[Told] = field(default_factory=list)
    shut: bool = False
    asked: int = 0

    def check(self) -> None:
        self.asked += 1
        if self.shut:
            raise Forbidden("this start is over")

    def tell(self, told: Told) -> None:
        self.told.append(told)

    def of(self, kind: str) -> list[Told]:
        return [each for each in self.told if each.kind == kind]


@dataclass
class Door:
    """What a job has of its way out."""

    port: int
    out: WayOut
    gate: Noted

    @property
    def environment(self) -> dict[str, str]:
        return dict(self.out.job.environment)

    def placeholder(self, name: str = "api-key") -> str:
        return self.environment[f"AGENTSEC_SECRET_{name.upper().replace('-', '_')}"]

    def wire(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), 5)

    def say(self, data: bytes) -> bytes:
        """Send these bytes; all that comes back until the end."""
        with self.wire() as wire:
            wire.sendall(data)
            return everything(wire)

    def get(self, url: str, *headers: str, method: str = "GET", body: bytes = b"") -> bytes:
        host = url.split("/")[2]
        lines = [f"{method} {url} HTTP/1.1", f"Host: {host}", "Connection: close", *headers]
        lines += [f"Content-Length: {len(body)}"] if body else []
        return self.say("\r\n".join([*lines, "", ""]).encode() + body)

    def connect(self, target: str) -> socket.socket:
        """A wire after CONNECT was answered well."""
        wire = self.wire()
        wire.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        answer = wire.recv(4096)
        assert answer.startswith(b"HTTP/1.1 200 "), answer
        return wire

    @cached_property
    def trust(self) -> ssl.SSLContext:
        """TLS as the job does it: with the certificates of its file alone."""
        content = self.out.job.files[wayout.CERTIFICATES]
        assert isinstance(content, bytes)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=content.decode())
        return context


def everything(wire: socket.socket) -> bytes:
    data = b""
    try:
        while piece := wire.recv(65536):
            data += piece
    except OSError:
        pass
    return data


@contextmanager
def door(
    *egress: str, secrets: tuple[str, ...] = (), gate: Noted | None = None,
    values: dict[str, str] | None = None, hosts: dict[str, list[str]] | None = None, **limits: int,
) -> Iterator[Door]:  # fmt: skip
    """A proxy for a job with these lines of egress; names resolve to loopback, or as `hosts` says."""
    gate = gate or Noted()

    def resolve(host: str, port: int) -> list[str]:
        return (hosts or {}).get(host, ["127.0.0.1"])

    job = Job(argv=("true",), egress=egress, secrets=secrets, limits=Limits(wall_seconds=10, **limits))
    read = (values or SECRETS).__getitem__
    with wayout.opened(job, gate=gate, read=read, resolve=resolve) as out:
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        out.serve(os.dup(listener.fileno()))
        listener.close()
        yield Door(port, out, gate)


def certificate(folder: Path, *names: str) -> Path:
    """A key and a certificate for these names, signed by itself, in one file."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    built = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    built = built.serial_number(1).not_valid_before(now - timedelta(hours=1))
    built = built.not_valid_after(now + timedelta(hours=1))
    built = built.add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), critical=False)
    form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path = folder / f"{names[0]}.pem"
    path.write_bytes(key.private_bytes(*form) + built.sign(key, SHA256()).public_bytes(Encoding.PEM))
    return path
