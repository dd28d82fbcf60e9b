"""The certificate authority of one run: in memory, for an hour, and it may speak for its hosts alone."""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from ipaddress import ip_network
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from django.conf import settings

from policies import addresses
from traces.problems import Unavailable

_LIFE, _SKEW = timedelta(hours=1), timedelta(minutes=5)
_SYSTEM = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


class Authority:
    """Signs for hosts that stand in its own certificate's name constraints, and for no others."""

    def __init__(self, hosts: Iterable[str]) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._leaf_key = ec.generate_private_key(ec.SECP256R1())
        self._lock = threading.Lock()
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._name = _name("agentsec: this run only")
        permitted = x509.NameConstraints([_general(host, network=True) for host in sorted(set(hosts))], None)
        builder = _builder(self._name, self._name, self._key)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(permitted, critical=True).add_extension(
            _usage(signs=True), critical=True
        )
        identity = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        self._certificate = builder.add_extension(identity, critical=False).sign(self._key, SHA256())

    @property
    def pem(self) -> str:
        """Its certificate, for who shall trust it."""
        return self._certificate.public_bytes(Encoding.PEM).decode()

    def context(self, host: str) -> ssl.SSLContext:
        """TLS as this host; a client that asks for another is turned away."""
        with self._lock:
            if host not in self._contexts:
                self._contexts[host] = _serving(self._chain(host), host)
            return self._contexts[host]

    def _chain(self, host: str) -> bytes:
        builder = _builder(_name("agentsec"), self._name, self._leaf_key)
        builder = builder.add_extension(x509.SubjectAlternativeName([_general(host)]), critical=True)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(signs=False), critical=True)
        serves = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(serves, critical=False).add_extension(issuer, critical=False)
        leaf = builder.sign(self._key, SHA256())
        key = self._leaf_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return key + leaf.public_bytes(Encoding.PEM)


def trusted_by_jobs(more: str = "") -> bytes:
    """The certificates that a job trusts: the machine's, the operator's own, and those of its run."""
    return (_bundle(str(settings.AGENTSEC_EGRESS_CA_FILE)) + more).encode()


def upstream() -> ssl.SSLContext:
    """TLS towards servers, which this machine's authorities and the operator's own must vouch for.

    Raises Unavailable where the operator's file cannot be read.
    """
    return _upstream(str(settings.AGENTSEC_EGRESS_CA_FILE))


@lru_cache(maxsize=4)
def _upstream(more: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if more:
        try:
            context.load_verify_locations(cafile=more)
        except (OSError, ssl.SSLError):
            raise Unavailable("AGENTSEC_EGRESS_CA_FILE is no readable file of certificates") from None
    return context


@lru_cache(maxsize=4)
def _bundle(more: str) -> str:
    paths = [
        path for path in (ssl.get_default_verify_paths().cafile, *_SYSTEM) if path and Path(path).is_file()
    ]
    try:
        texts = [Path(path).read_text() for path in [*paths[:1], *([more] if more else [])]]
    except OSError:
        raise Unavailable("AGENTSEC_EGRESS_CA_FILE is no readable file of certificates") from None
    return "\n".join([*texts, ""])


def _serving(chain: bytes, host: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    memory = os.memfd_create("agentsec-egress", os.MFD_CLOEXEC)
    try:
        os.write(memory, chain)
        # The only way in is a path, and a disk is no place for a key.
        context.load_cert_chain(f"/proc/self/fd/{memory}")
    finally:
        os.close(memory)

    def check(wire: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> int | None:
        return None if asks_for(name or "", host) else ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

    context.sni_callback = check
    return context


def asks_for(name: str, host: str) -> bool:
    """Whether a TLS hello with this name is for this host; an address is asked for without a name."""
    return name.lower() == host or (not name and addresses.parse(host) is not None)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - _SKEW).not_valid_after(now + _LIFE)


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs, key_cert_sign=signs, crl_sign=signs, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
        decipher_only=False,
    )  # fmt: skip


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general(host: str, *, network: bool = False) -> x509.GeneralName:
    address = addresses.parse(host)
    if address is None:
        return x509.DNSName(host)
    return x509.IPAddress(ip_network(host) if network else address)
