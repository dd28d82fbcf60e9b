"""Whoever listens is asked about anew only where something says so: triggers on all that it hangs on."""

from __future__ import annotations

import django.db.models.functions.datetime
from django.db import migrations, models

NOTE = """
CREATE FUNCTION approvals_note_standing() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO approvals_standingchange (xid) VALUES (pg_current_xact_id()::text::bigint);
    RETURN NULL;
END $$;
"""
# What the marks of `approvals.standing` are made of, and when it matters: nobody can listen yet as a person
# who is only made now, and most of what is written of a person, a passkey or a sign-in says only that it
# was used.
WATCHED = {
    "policies_user": "UPDATE OF id, password, is_active, roles OR DELETE",
    "policies_user_groups": "INSERT OR UPDATE OR DELETE",
    "auth_group": "UPDATE OR DELETE",
    "policies_passkey": "INSERT OR UPDATE OF user_id OR DELETE",
    "policies_authenticatorapp": "INSERT OR UPDATE OF user_id OR DELETE",
    "policies_absence": "INSERT OR UPDATE OR DELETE",
    "django_session": "DELETE",
}
SHORTENED = """
CREATE TRIGGER standing_shortened AFTER UPDATE ON django_session FOR EACH ROW
    WHEN (NEW.expire_date < OLD.expire_date OR NEW.session_key <> OLD.session_key)
    EXECUTE FUNCTION approvals_note_standing();
"""


def watch() -> str:
    """The triggers, a statement each."""
    return NOTE + SHORTENED + "".join(
        f"CREATE TRIGGER standing_changed AFTER {events} ON {table} EXECUTE FUNCTION approvals_note_standing();"
        f"CREATE TRIGGER standing_emptied AFTER TRUNCATE ON {table} EXECUTE FUNCTION approvals_note_standing();"
        for table, events in WATCHED.items()
    )  # fmt: skip


def forget() -> str:
    """The way back."""
    return "DROP TRIGGER standing_shortened ON django_session;" + "".join(
        f"DROP TRIGGER standing_changed ON {table}; DROP TRIGGER standing_emptied ON {table};"
        for table in WATCHED
    ) + "DROP FUNCTION approvals_note_standing();"  # fmt: skip


class Migration(migrations.Migration):
    dependencies = [
        ("approvals", "0018_database_time"),
        ("policies", "0013_signing_keys"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("sessions", "0001_initial"),
    ]
    operations = [
        migrations.CreateModel(
            name="StandingChange",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("xid", models.BigIntegerField()),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={"indexes": [models.Index(fields=["xid"], name="standing_change_by_xid")]},
        ),
        migrations.RunSQL(watch(), forget()),
    ]
