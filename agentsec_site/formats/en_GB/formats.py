"""Moments in the admin as on every other page: 24 hours, and the zone that they are in."""

from __future__ import annotations

DATE_FORMAT = "j M Y"
TIME_FORMAT = "H:i"
DATETIME_FORMAT = "j M Y H:i e"
