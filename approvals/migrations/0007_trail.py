"""What happened in the sessions that were there before it was kept by name."""

from __future__ import annotations

from django.db import migrations

FORWARD = """
INSERT INTO policies_trail (session_id, calls, read, did, last)
SELECT session_id, count(*),
       coalesce(array_agg(DISTINCT tool) FILTER (WHERE fence > 0), '{}'),
       coalesce(array_agg(DISTINCT tool) FILTER (WHERE fence > 0 AND effect <> 'read'), '{}'),
       coalesce((array_agg(tool ORDER BY fence DESC) FILTER (WHERE fence > 0))[1], '')
FROM approvals_action GROUP BY session_id
ON CONFLICT DO NOTHING
"""


class Migration(migrations.Migration):
    dependencies = [("approvals", "0006_growth"), ("policies", "0008_trail")]
    operations = [migrations.RunSQL(FORWARD, migrations.RunSQL.noop)]
