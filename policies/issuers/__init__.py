"""Issuers: what a grant opens. One file an issuer, one line in the registry.

An issuer makes a privilege for one grant and takes it back. `revoke` may run at any time, any number of
times, also for a privilege whose making was cut short, so everything is named after the grant's id.
"""

from __future__ import annotations

from policies.issuers import nothing, postgres, token
from policies.issuers.base import Issued, Issuer, IssuerFailed

ISSUERS: dict[str, Issuer] = {
    "none": nothing.ISSUER,
    "postgres": postgres.ISSUER,
    "token": token.ISSUER,
}

__all__ = ["ISSUERS", "Issued", "Issuer", "IssuerFailed"]
