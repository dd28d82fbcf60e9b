"""The sequence of fencing tokens: each start gets a number that no other start ever had."""

from __future__ import annotations

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("approvals", "0001_initial")]

    operations = [
        migrations.RunSQL("CREATE SEQUENCE approvals_fence", "DROP SEQUENCE approvals_fence"),
    ]
