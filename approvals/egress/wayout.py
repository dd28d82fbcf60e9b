"""The way out of one sandboxed run: what is put into its job, and the proxy behind it.

A job that names no destination gets nothing of this: its network has nobody in it.
"""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from approvals.egress import authority
from approvals.egress.authority import Authority
from approvals.egress.courier import Budget, Courier
from approvals.egress.gate import Gate, RunGate
from approvals.egress.proxy import Proxy
from approvals.egress.vault import Read, Vault
from approvals.sandbox import Job, SandboxUnavailable
from approvals.sandbox.job import WAY_OUT_PORT
from policies import destinations
from policies.destinations import Destinations
from policies.fetch import Resolve

CERTIFICATES = "agentsec-ca.pem"
_PROXY = f"http://127.0.0.1:{WAY_OUT_PORT}"
_TRUST = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS")


@dataclass
class WayOut:
    """A job with what it needs to find its way out, and who serves it."""

    job: Job
    _courier: Courier | None = None
    _authority: Authority | None = None
    _held: ExitStack = field(default_factory=ExitStack)

    def serve(self, descriptor: int) -> None:
        """Take over the listening descriptor that the sandbox's init opened. Raises SandboxUnavailable."""
        if self._courier is None:
            os.close(descriptor)
            raise SandboxUnavailable("the sandbox opened a way out that nobody asked for")
        listener = socket.socket(fileno=descriptor)
        self._held.callback(Proxy(listener, self._courier, self._authority).close)


@contextmanager
def opened(job: Job, *, gate: Gate, read: Read, resolve: Resolve | None = None) -> Iterator[WayOut]:
    """The way out of `job`, for as long as the block lasts.

    `gate` says whether its start holds and takes what happens; `read` gives a secret's value. Raises
    ValueError for a destination that cannot be read, Unavailable for a secret that cannot be used.
    """
    if not job.egress and not job.secrets:
        yield WayOut(job)
        return
    allowed = Destinations.of(job.egress)
    if unbound := sorted(set(job.secrets) ^ allowed.secrets):
        raise ValueError(f"the secret {unbound[0]} is bound to no destination, or is not the tool's")
    vault = Vault.random(job.secrets, read)
    signer = Authority(destinations.hosts(allowed.read)) if allowed.read else None
    courier = Courier(
        allowed, vault, gate, Budget(job.limits.network_bytes), authority.upstream(), job.limits.wall_seconds,
        resolve,
    )  # fmt: skip
    with ExitStack() as held:
        yield WayOut(_equipped(job, vault, signer), courier, signer, held)


def summary(gate: RunGate) -> Mapping[str, Any]:
    """What the agent is told of its way out: how much was let through, and what was not."""
    refused: Counter[str] = gate.refusals
    return {
        "allowed": gate.allowed,
        "refused": sum(refused.values()),
        "refusals": [{"what": what, "count": count} for what, count in refused.most_common(20)],
    }


def _equipped(job: Job, vault: Vault, signer: Authority | None) -> Job:
    if CERTIFICATES in job.files:
        raise ValueError(f"a file cannot be called {CERTIFICATES} where there is a way out")
    environment = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), _PROXY)
    environment |= dict.fromkeys(_TRUST, f"/in/{CERTIFICATES}") | vault.environment
    trusted = authority.trusted_by_jobs(signer.pem if signer else "")
    return replace(job, files={**job.files, CERTIFICATES: trusted}, environment=environment)
