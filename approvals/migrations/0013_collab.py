"""Claims, questions to the agent, and advice with a rejection."""

from __future__ import annotations

import django.db.models.deletion
import django.utils.timezone
import uuid
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('approvals', '0012_word'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Question',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('text', models.TextField()),
                ('at', models.DateTimeField(default=django.utils.timezone.now)),
                ('entry', models.UUIDField()),
                ('extended_by', models.PositiveIntegerField(default=0, help_text='Seconds that the deadline moved by it.')),
                ('told_at', models.DateTimeField(blank=True, help_text='When the agent was first told of it.', null=True)),
                ('answer', models.TextField(blank=True, help_text='As it passed the firewall.')),
                ('findings_json', models.TextField(default='[]')),
                ('verdict', models.CharField(blank=True, help_text="The firewall's, on the answer.", max_length=7)),
                ('answered_at', models.DateTimeField(blank=True, null=True)),
                ('answer_entry', models.UUIDField(blank=True, null=True)),
            ],
            options={
                'ordering': ['at', 'id'],
            },
        ),
        migrations.AddField(
            model_name='action',
            name='advice',
            field=models.TextField(blank=True, help_text='What whoever rejected it says to do instead.'),
        ),
        migrations.AddField(
            model_name='action',
            name='claimed_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='action',
            name='claimed_by',
            field=models.CharField(blank=True, help_text='Who says that they decide it.', max_length=150),
        ),
        migrations.AddField(
            model_name='action',
            name='claimed_until',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='action',
            name='talk',
            field=models.CharField(blank=True, help_text='asked, or answered: see its questions.', max_length=8),
        ),
        migrations.AddIndex(
            model_name='action',
            index=models.Index(condition=models.Q(('claimed_until__isnull', False)), fields=['claimed_until'], name='action_claimed'),
        ),
        migrations.AddField(
            model_name='question',
            name='action',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='questions', to='approvals.action'),
        ),
        migrations.AddField(
            model_name='question',
            name='user',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddConstraint(
            model_name='question',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('answer_entry', None), ('answered_at', None)), models.Q(('answer_entry__isnull', False), ('answered_at__isnull', False)), _connector='OR'), name='question_answered_in_the_log'),
        ),
    ]
