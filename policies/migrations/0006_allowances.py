"""Allowances for a while."""

from __future__ import annotations

import django.contrib.postgres.fields
import django.db.models.deletion
import django.utils.timezone
import uuid
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('policies', '0005_source_call'),
        ('traces', '0002_append_only'),
    ]

    operations = [
        migrations.CreateModel(
            name='Allowance',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('tool', models.CharField(max_length=100)),
                ('target', models.TextField(blank=True)),
                ('same', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=100), help_text='The arguments that must be the same.', size=None)),
                ('call', models.CharField(help_text="Digest of the tool's definition, target and `same`.", max_length=64)),
                ('labels', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=64), blank=True, default=list, size=None)),
                ('origins', models.JSONField(default=dict, help_text='Origin of each value that must be the same.')),
                ('findings', models.JSONField(default=list, help_text='What the firewall had found in the arguments.')),
                ('most', models.JSONField(default=dict, help_text='The largest number in each argument that may differ.')),
                ('rules', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=100), help_text='The rules whose asking it answers.', size=None)),
                ('release', models.CharField(max_length=64)),
                ('release_id', models.BigIntegerField()),
                ('group', models.CharField(max_length=150)),
                ('action_id', models.UUIDField(help_text='The action whose approval made it.')),
                ('vote', models.UUIDField(help_text='The log entry that holds that approval.')),
                ('made_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('starts_at', models.DateTimeField(help_text='Nothing starts by it before: until then it can be undone.')),
                ('until', models.DateTimeField()),
                ('entry', models.UUIDField(help_text='The log entry that holds all of the above.')),
                ('uses', models.PositiveIntegerField(default=0)),
                ('last_used_at', models.DateTimeField(blank=True, null=True)),
                ('ended_at', models.DateTimeField(blank=True, null=True)),
                ('ended', models.CharField(blank=True, help_text='Why it ended.', max_length=200)),
                ('agent', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='allowances', to='policies.agent')),
                ('session', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='allowances', to='traces.session')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='allowances', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['-made_at'],
                'indexes': [models.Index(condition=models.Q(('ended_at', None)), fields=['session', 'call'], name='allowance_open'), models.Index(fields=['session', 'made_at'], name='allowance_of_session'), models.Index(fields=['action_id'], name='allowance_of_action')],
                'constraints': [models.CheckConstraint(condition=models.Q(('until__gt', models.F('starts_at'))), name='allowance_ends'), models.CheckConstraint(condition=models.Q(('rules', []), _negated=True), name='allowance_answers_rules')],
            },
        ),
    ]
