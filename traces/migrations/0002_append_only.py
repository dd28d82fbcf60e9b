"""The database itself refuses to change or delete what was logged.

Triggers hold for every role, the tables' owner included; only a superuser can switch them off, which
`verify` and the witnesses of checkpoints show. Grants live in `traces.roles`, since they name roles.
"""

from __future__ import annotations

from django.db import migrations

FUNCTIONS = """
CREATE FUNCTION traces_refuse() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE FUNCTION traces_tile_grows() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF NEW.id = OLD.id AND NEW.level = OLD.level AND NEW.index = OLD.index AND NEW.width > OLD.width
       AND substring(NEW.data FROM 1 FOR octet_length(OLD.data)) = OLD.data THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'traces_tile only grows: this UPDATE is refused' USING ERRCODE = 'insufficient_privilege';
END $$;
"""

REFUSED = {
    "traces_entry": "UPDATE OR DELETE",
    "traces_leaf": "UPDATE OR DELETE",
    "traces_checkpoint": "UPDATE OR DELETE",
    "traces_tile": "DELETE",
    "traces_outbox": "UPDATE",
}


def forward() -> str:
    triggers = [
        f"CREATE TRIGGER {table}_rows BEFORE {events} ON {table} FOR EACH ROW EXECUTE FUNCTION traces_refuse();\n"
        f"CREATE TRIGGER {table}_whole BEFORE TRUNCATE ON {table} EXECUTE FUNCTION traces_refuse();"
        for table, events in REFUSED.items()
    ]
    grows = (
        "CREATE TRIGGER traces_tile_grows BEFORE UPDATE ON traces_tile "
        "FOR EACH ROW EXECUTE FUNCTION traces_tile_grows();"
    )
    return "\n".join([FUNCTIONS, *triggers, grows])


def backward() -> str:
    drops = [
        f"DROP TRIGGER {table}_{what} ON {table};" for table in REFUSED for what in ("rows", "whole")
    ]
    return "\n".join(
        [*drops, "DROP TRIGGER traces_tile_grows ON traces_tile;",
         "DROP FUNCTION traces_refuse();", "DROP FUNCTION traces_tile_grows();"]
    )


class Migration(migrations.Migration):
    dependencies = [("traces", "0001_initial")]

    operations = [
        migrations.RunSQL(forward(), backward()),
        # The default sample of 100 misjudges rare words by orders of magnitude, and the planner then reads
        # a whole index backwards instead of the few matches.
        migrations.RunSQL(
            "ALTER TABLE traces_span ALTER COLUMN document SET STATISTICS 2000;",
            "ALTER TABLE traces_span ALTER COLUMN document SET STATISTICS -1;",
        ),
    ]
