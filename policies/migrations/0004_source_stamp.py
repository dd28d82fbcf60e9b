"""What a text weighs and holds stands beside it, and the database refuses to change it."""

from __future__ import annotations

from django.db import migrations, models

# The stamps of texts that stood before need only differ where the texts do.
FILL = """
UPDATE policies_source SET
    stamp = ('x' || left(encode(sha256(convert_to(text, 'UTF8')), 'hex'), 16))::bit(64)::bigint,
    weight = greatest(1, CASE WHEN octet_length(text) = length(text) THEN length(text) ELSE length(text) * 8 END);
"""
FINAL = """
CREATE FUNCTION policies_source_final() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    RAISE EXCEPTION 'policies_source is final: UPDATE refused' USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER policies_source_final BEFORE UPDATE ON policies_source
    FOR EACH ROW EXECUTE FUNCTION policies_source_final();
"""
LOOSE = """
DROP TRIGGER policies_source_final ON policies_source;
DROP FUNCTION policies_source_final();
"""


class Migration(migrations.Migration):
    dependencies = [("policies", "0003_source_fields")]
    operations = [
        migrations.AddField(
            model_name="source", name="stamp", field=models.BigIntegerField(default=0, editable=False)
        ),
        migrations.AddField(
            model_name="source", name="weight", field=models.PositiveIntegerField(default=0, editable=False)
        ),
        migrations.RemoveIndex(model_name="source", name="source_of_session"),
        migrations.AddIndex(
            model_name="source",
            index=models.Index(
                name="source_of_session", fields=["session", "id"], include=["stamp", "weight"]
            ),
        ),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
        migrations.AddConstraint(
            model_name="source",
            constraint=models.CheckConstraint(condition=models.Q(("weight__gt", 0)), name="source_weighed"),
        ),
        migrations.RunSQL(FINAL, LOOSE),
    ]
