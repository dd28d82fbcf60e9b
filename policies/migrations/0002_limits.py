from __future__ import annotations

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('policies', '0001_initial'),
    ]

    operations = [
        migrations.AlterField(
            model_name='switch',
            name='scope',
            field=models.CharField(help_text='all, agent:NAME, group:NAME or tool:NAME', max_length=160, unique=True),
        ),
        migrations.CreateModel(
            name='Limit',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=100, unique=True)),
                ('tool', models.CharField(blank=True, help_text='A tool, or a pattern with * and ?.', max_length=100)),
                ('group', models.CharField(blank=True, help_text='The agents of this team, together.', max_length=150)),
                ('agent', models.CharField(blank=True, help_text='One agent.', max_length=100)),
                ('per_minute', models.PositiveIntegerField(blank=True, help_text='Calls a minute (UTC).', null=True)),
                ('per_day', models.PositiveIntegerField(blank=True, help_text='Calls a day (UTC).', null=True)),
                ('pending', models.PositiveIntegerField(blank=True, help_text='Calls that wait for people.', null=True)),
                ('sum_of', models.CharField(blank=True, help_text='The argument that is added up, or a path such as lines.amount.', max_length=100)),
                ('sum_per_day', models.DecimalField(blank=True, decimal_places=6, help_text='Its sum a day (UTC).', max_digits=40, null=True)),
            ],
            options={
                'ordering': ['name'],
                'constraints': [models.CheckConstraint(condition=models.Q(('agent', ''), ('group', ''), ('tool', ''), _negated=True), name='limit_names_something'), models.CheckConstraint(condition=models.Q(models.Q(('sum_of', ''), ('sum_per_day', None)), models.Q(models.Q(('sum_of', ''), _negated=True), ('sum_per_day__gte', 0)), _connector='OR'), name='limit_sum_names_its_argument')],
            },
        ),
        migrations.CreateModel(
            name='Tally',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('window', models.CharField(choices=[('minute', 'minute'), ('day', 'day')], max_length=6)),
                ('starts_at', models.DateTimeField()),
                ('count', models.PositiveIntegerField(default=0)),
                ('total', models.DecimalField(decimal_places=6, default=0, max_digits=40)),
                ('limit', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='tallies', to='policies.limit')),
            ],
        ),
        migrations.CreateModel(
            name='Charge',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('action_id', models.UUIDField(db_index=True)),
                ('amount', models.DecimalField(decimal_places=6, max_digits=40)),
                ('at', models.DateTimeField(default=django.utils.timezone.now)),
                ('tally', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='charges', to='policies.tally')),
            ],
        ),
        migrations.AddConstraint(
            model_name='tally',
            constraint=models.UniqueConstraint(fields=('limit', 'window', 'starts_at'), name='tally_window_once'),
        ),
        migrations.AddConstraint(
            model_name='charge',
            constraint=models.UniqueConstraint(fields=('tally', 'action_id'), name='charge_once'),
        ),
    ]
