"""Which links, keys and tokens still work: one word for it each, wherever they are looked up."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import models
from django.db.models import Q


class LinkQuerySet(models.QuerySet[Any]):
    def usable(self, now: datetime) -> LinkQuerySet:
        return self.filter(used_at=None, expires_at__gt=now)


class KeyQuerySet(models.QuerySet[Any]):
    def usable(self, now: datetime) -> KeyQuerySet:
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=now), revoked_at=None)


class TokenQuerySet(models.QuerySet[Any]):
    def usable(self, now: datetime) -> TokenQuerySet:
        return self.filter(revoked_at=None, expires_at__gt=now, user__is_active=True)
