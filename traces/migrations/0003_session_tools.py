"""The tools that a session was opened for; who opened it, and for what, is never changed afterwards."""

from __future__ import annotations

import django.contrib.postgres.fields
from django.db import migrations, models

# An erasure empties the purpose, and nothing else touches any of these.
FORWARD = """
CREATE FUNCTION traces_session_stands() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    RAISE EXCEPTION 'what a session was opened for is never changed' USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER traces_session_stands BEFORE UPDATE ON traces_session FOR EACH ROW
    WHEN (OLD.tools IS DISTINCT FROM NEW.tools OR OLD.attested <> NEW.attested
          OR OLD.agent_id <> NEW.agent_id OR (OLD.purpose <> NEW.purpose AND NEW.purpose <> ''))
    EXECUTE FUNCTION traces_session_stands();
"""
BACKWARD = "DROP TRIGGER traces_session_stands ON traces_session; DROP FUNCTION traces_session_stands();"


class Migration(migrations.Migration):
    dependencies = [("traces", "0002_append_only")]
    operations = [
        migrations.AddField(
            model_name="session",
            name="tools",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=100), blank=True, default=list, size=None
            ),
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    ]
