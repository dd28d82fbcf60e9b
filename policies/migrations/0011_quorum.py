"""Separate duties, escalation, and people who are away."""

from __future__ import annotations

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('policies', '0010_factors'),
    ]

    operations = [
        migrations.AddField(
            model_name='rule',
            name='escalate',
            field=models.JSONField(blank=True, default=list, help_text='Steps: {after (seconds), to (group)}.'),
        ),
        migrations.AddField(
            model_name='rule',
            name='separate_duties',
            field=models.BooleanField(default=False),
        ),
        migrations.CreateModel(
            name='Absence',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('since', models.DateTimeField()),
                ('until', models.DateTimeField()),
                ('ended_at', models.DateTimeField(blank=True, help_text='Where the person came back early.', null=True)),
                ('entry', models.UUIDField(help_text='The log entry that holds this.')),
                ('at', models.DateTimeField(default=django.utils.timezone.now)),
                ('stand_in', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='stands_in', to=settings.AUTH_USER_MODEL)),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='absences', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['-since', '-id'],
                'indexes': [models.Index(fields=['stand_in', 'until'], name='absence_of_stand_in')],
                'constraints': [models.CheckConstraint(condition=models.Q(('until__gt', models.F('since'))), name='absence_lasts'), models.CheckConstraint(condition=models.Q(('stand_in', None), models.Q(('stand_in', models.F('user')), _negated=True), _connector='OR'), name='absence_stand_in_is_another')],
            },
        ),
    ]
