"""What changed, in an order that whoever was away, or remembers, can ask from."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now


class Change(models.Model):
    """An action changed: one row for each time that pages are told, kept for a day.

    `id` grows with each change of one action, since it is drawn while the action is locked. `xid` is the
    transaction's: everything below the oldest one that still runs has been seen by whoever read after it.
    """

    action_id = models.UUIDField(help_text="No foreign key: it would lock the action a second time.")
    xid = models.BigIntegerField()
    at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [
            models.Index(name="change_by_xid", fields=["xid"]),
            models.Index(name="change_of_action", fields=["action_id", "id"]),
            models.Index(name="change_by_time", fields=["at"]),
        ]


class StandingChange(models.Model):
    """Something changed that says who a person is and what they may, or a sign-in ended: one row a statement.

    Written by triggers, so whoever writes such a table, by whatever way, is noticed. `xid` as above.
    """

    xid = models.BigIntegerField()
    at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [models.Index(name="standing_change_by_xid", fields=["xid"])]
