"""When another group is asked too."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('approvals', '0013_collab'),
        ('policies', '0011_quorum'),
        ('traces', '0003_session_tools'),
    ]

    operations = [
        migrations.AddField(
            model_name='action',
            name='escalates_at',
            field=models.DateTimeField(blank=True, help_text='While pending: when others are asked.', null=True),
        ),
        migrations.AddIndex(
            model_name='action',
            index=models.Index(condition=models.Q(('escalates_at__isnull', False), ('state', 'pending')), fields=['escalates_at'], name='action_escalates'),
        ),
    ]
