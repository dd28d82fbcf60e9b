"""For tools that need no outside privilege: the grant itself is the whole right to start."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from policies.issuers.base import Issued, Issuer


class _Nothing:
    def scope(self, *, grant_id: UUID, config: Mapping[str, Any], args: Mapping[str, Any]) -> dict[str, Any]:
        return {}

    def issue(self, *, scope: Mapping[str, Any], expires_at: datetime) -> Issued:
        return Issued()

    def revoke(self, *, scope: Mapping[str, Any]) -> None:
        return None


ISSUER: Issuer = _Nothing()
