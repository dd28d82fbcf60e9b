from __future__ import annotations

import django.contrib.auth.models
import django.contrib.auth.validators
import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
import django.utils.timezone
import uuid
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('auth', '0012_alter_user_first_name_max_length'),
        ('traces', '0002_append_only'),
    ]

    operations = [
        migrations.CreateModel(
            name='Case',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=200, unique=True)),
                ('tool', models.CharField(max_length=100)),
                ('args', models.JSONField(default=dict)),
                ('agent', models.CharField(blank=True, max_length=100)),
                ('labels', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=20), blank=True, default=list, size=None)),
                ('origin', models.JSONField(blank=True, default=dict)),
                ('expect', models.CharField(choices=[('allow', 'Allow'), ('ask', 'Ask'), ('block', 'Block')], max_length=5)),
            ],
            options={
                'ordering': ['name'],
            },
        ),
        migrations.CreateModel(
            name='Release',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('digest', models.CharField(db_index=True, max_length=64)),
                ('content', models.TextField(help_text='Canonical JSON (RFC 8785); the digest is over exactly this.')),
                ('published_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('published_by', models.CharField(max_length=150)),
                ('note', models.CharField(blank=True, max_length=500)),
            ],
            options={
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='Secret',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=100, unique=True, validators=[django.core.validators.RegexValidator('^[a-zA-Z0-9][a-zA-Z0-9._@-]{0,99}\\Z', 'At most 100 letters, digits and . _ @ -')])),
                ('sealed', models.BinaryField()),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ('rotated_at', models.DateTimeField(blank=True, editable=False, null=True)),
                ('last_used_at', models.DateTimeField(blank=True, editable=False, null=True)),
                ('uses', models.PositiveBigIntegerField(default=0, editable=False)),
            ],
        ),
        migrations.CreateModel(
            name='Switch',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('scope', models.CharField(help_text='all, agent:NAME or tool:NAME', max_length=120, unique=True)),
                ('reason', models.CharField(blank=True, max_length=500)),
                ('by', models.CharField(max_length=150)),
                ('at', models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                'verbose_name': 'kill switch',
                'verbose_name_plural': 'kill switches',
            },
        ),
        migrations.CreateModel(
            name='Tool',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=100, unique=True, validators=[django.core.validators.RegexValidator('^[a-zA-Z0-9][a-zA-Z0-9._@-]{0,99}\\Z', 'At most 100 letters, digits and . _ @ -')])),
                ('description', models.TextField(blank=True)),
                ('runs', models.CharField(choices=[('agent', 'Agent'), ('python', 'Python'), ('shell', 'Shell'), ('sql', 'Sql'), ('http', 'Http'), ('mcp', 'Mcp'), ('credential', 'Credential')], default='agent', max_length=12)),
                ('effect', models.CharField(choices=[('read', 'Read'), ('write', 'Write'), ('destructive', 'Destructive')], default='destructive', max_length=12)),
                ('output', models.CharField(choices=[('untrusted', 'Untrusted'), ('trusted', 'Trusted')], default='untrusted', max_length=10)),
                ('untrusted_fields', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=100), blank=True, default=list, size=None)),
                ('returns', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=10), blank=True, default=list, size=None)),
                ('sends', models.CharField(choices=[('none', 'None'), ('internal', 'Internal'), ('external', 'External')], default='external', max_length=10)),
                ('idempotent', models.BooleanField(default=False)),
                ('authority', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=100), blank=True, default=list, size=None)),
                ('target', models.CharField(blank=True, max_length=100)),
                ('summary', models.CharField(blank=True, max_length=300)),
                ('labels', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=50), blank=True, default=list, size=None)),
                ('parameters', models.JSONField(default=dict)),
                ('config', models.JSONField(blank=True, default=dict, help_text='How it runs: issuer, source, argv, limits, egress, secrets, minutes.')),
                ('paused', models.BooleanField(default=False)),
            ],
            options={
                'ordering': ['name'],
            },
        ),
        migrations.CreateModel(
            name='User',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('password', models.CharField(max_length=128, verbose_name='password')),
                ('last_login', models.DateTimeField(blank=True, null=True, verbose_name='last login')),
                ('is_superuser', models.BooleanField(default=False, help_text='Designates that this user has all permissions without explicitly assigning them.', verbose_name='superuser status')),
                ('username', models.CharField(error_messages={'unique': 'A user with that username already exists.'}, help_text='Required. 150 characters or fewer. Letters, digits and @/./+/-/_ only.', max_length=150, unique=True, validators=[django.contrib.auth.validators.UnicodeUsernameValidator()], verbose_name='username')),
                ('first_name', models.CharField(blank=True, max_length=150, verbose_name='first name')),
                ('last_name', models.CharField(blank=True, max_length=150, verbose_name='last name')),
                ('email', models.EmailField(blank=True, max_length=254, verbose_name='email address')),
                ('is_staff', models.BooleanField(default=False, help_text='Designates whether the user can log into this admin site.', verbose_name='staff status')),
                ('is_active', models.BooleanField(default=True, help_text='Designates whether this user should be treated as active. Unselect this instead of deleting accounts.', verbose_name='active')),
                ('date_joined', models.DateTimeField(default=django.utils.timezone.now, verbose_name='date joined')),
                ('roles', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(choices=[('administrator', 'Administrator'), ('editor', 'Policy editor'), ('approver', 'Approver'), ('auditor', 'Auditor'), ('member', 'Member')], max_length=20), blank=True, default=list, size=None)),
                ('groups', models.ManyToManyField(blank=True, help_text='The groups this user belongs to. A user will get all permissions granted to each of their groups.', related_name='user_set', related_query_name='user', to='auth.group', verbose_name='groups')),
                ('user_permissions', models.ManyToManyField(blank=True, help_text='Specific permissions for this user.', related_name='user_set', related_query_name='user', to='auth.permission', verbose_name='user permissions')),
            ],
            options={
                'verbose_name': 'user',
                'verbose_name_plural': 'users',
                'abstract': False,
            },
            managers=[
                ('objects', django.contrib.auth.models.UserManager()),
            ],
        ),
        migrations.CreateModel(
            name='Agent',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=100, unique=True, validators=[django.core.validators.RegexValidator('^[a-zA-Z0-9][a-zA-Z0-9._@-]{0,99}\\Z', 'At most 100 letters, digits and . _ @ -')])),
                ('description', models.CharField(blank=True, max_length=500)),
                ('mode', models.CharField(choices=[('read_only', 'Read only'), ('standard', 'Standard'), ('paused', 'Paused')], default='read_only', max_length=10)),
                ('labels', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=50), blank=True, default=list, size=None)),
                ('actions_per_minute', models.PositiveIntegerField(default=60)),
                ('actions_per_day', models.PositiveIntegerField(default=5000)),
                ('pending', models.PositiveIntegerField(default=50)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ('owner', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='agents', to=settings.AUTH_USER_MODEL)),
                ('team', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='agents', to='auth.group')),
            ],
            options={
                'ordering': ['name'],
            },
        ),
        migrations.CreateModel(
            name='AgentKey',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('prefix', models.CharField(db_index=True, max_length=12)),
                ('sha256', models.CharField(max_length=64, unique=True)),
                ('scopes', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=10), default=list, size=None)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('expires_at', models.DateTimeField(blank=True, null=True)),
                ('revoked_at', models.DateTimeField(blank=True, null=True)),
                ('last_used_at', models.DateTimeField(blank=True, null=True)),
                ('uses', models.PositiveBigIntegerField(default=0)),
                ('agent', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='keys', to='policies.agent')),
            ],
        ),
        migrations.CreateModel(
            name='Gathered',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('label', models.CharField(max_length=64)),
                ('at', models.DateTimeField()),
                ('agent', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='gathered', to='policies.agent')),
            ],
        ),
        migrations.CreateModel(
            name='Grant',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('action_id', models.UUIDField(db_index=True)),
                ('session_id', models.UUIDField(null=True)),
                ('tool', models.CharField(max_length=100)),
                ('digest', models.CharField(max_length=64)),
                ('issuer', models.CharField(max_length=20)),
                ('scope', models.JSONField(default=dict)),
                ('fence', models.BigIntegerField(default=0)),
                ('state', models.CharField(choices=[('active', 'Active'), ('revoking', 'Revoking'), ('revoked', 'Revoked')], default='active', max_length=10)),
                ('minted_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('expires_at', models.DateTimeField()),
                ('used_at', models.DateTimeField(blank=True, null=True)),
                ('revoked_at', models.DateTimeField(blank=True, null=True)),
                ('why', models.CharField(blank=True, max_length=300)),
                ('attempts', models.PositiveIntegerField(default=0)),
                ('agent', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, to='policies.agent')),
            ],
        ),
        migrations.CreateModel(
            name='Link',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('purpose', models.CharField(choices=[('setup', 'Setup'), ('invitation', 'Invitation'), ('reset', 'Reset'), ('demo', 'Demo')], max_length=12)),
                ('sha256', models.CharField(max_length=64, unique=True)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('expires_at', models.DateTimeField()),
                ('used_at', models.DateTimeField(blank=True, null=True)),
                ('user', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, to=settings.AUTH_USER_MODEL)),
            ],
        ),
        migrations.CreateModel(
            name='PersonalToken',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('prefix', models.CharField(db_index=True, max_length=12)),
                ('sha256', models.CharField(max_length=64, unique=True)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('expires_at', models.DateTimeField()),
                ('revoked_at', models.DateTimeField(blank=True, null=True)),
                ('last_used_at', models.DateTimeField(blank=True, null=True)),
                ('uses', models.PositiveBigIntegerField(default=0)),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='tokens', to=settings.AUTH_USER_MODEL)),
            ],
        ),
        migrations.CreateModel(
            name='Rule',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=100, unique=True, validators=[django.core.validators.RegexValidator('^[a-zA-Z0-9][a-zA-Z0-9._@-]{0,99}\\Z', 'At most 100 letters, digits and . _ @ -')])),
                ('description', models.CharField(blank=True, max_length=500)),
                ('effect', models.CharField(choices=[('allow', 'Allow'), ('ask', 'Ask'), ('block', 'Block')], max_length=5)),
                ('agents', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=100), blank=True, default=list, size=None)),
                ('tools', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=100), blank=True, default=list, size=None)),
                ('when', models.TextField(blank=True)),
                ('approvers', models.CharField(blank=True, max_length=150)),
                ('quorum', models.PositiveSmallIntegerField(default=1)),
                ('expires_after', models.PositiveIntegerField(default=900, help_text='Seconds an approval is waited for.')),
                ('step_up', models.BooleanField(default=False)),
                ('fallback', models.BooleanField(default=False, help_text='Considered only where no other live rule matches: the last word of a set.')),
                ('mode', models.CharField(choices=[('live', 'Live'), ('shadow', 'Shadow')], default='live', max_length=6)),
                ('enabled', models.BooleanField(default=True)),
                ('until', models.DateTimeField(blank=True, null=True)),
            ],
            options={
                'ordering': ['name'],
                'constraints': [models.CheckConstraint(condition=models.Q(('quorum__gte', 1)), name='rule_quorum_positive'), models.CheckConstraint(condition=models.Q(models.Q(('effect', 'ask'), _negated=True), models.Q(('approvers', ''), _negated=True), _connector='OR'), name='rule_ask_names_approvers'), models.CheckConstraint(condition=models.Q(('expires_after__gte', 1)), name='rule_expiry_positive')],
            },
        ),
        migrations.CreateModel(
            name='Source',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('entry', models.UUIDField(unique=True)),
                ('origin', models.CharField(max_length=10)),
                ('kind', models.CharField(max_length=30)),
                ('who', models.CharField(blank=True, max_length=150)),
                ('text', models.TextField()),
                ('quoted', models.JSONField(default=list)),
                ('at', models.DateTimeField(default=django.utils.timezone.now)),
                ('session', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='sources', to='traces.session')),
            ],
        ),
        migrations.CreateModel(
            name='Usage',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('window', models.CharField(choices=[('minute', 'minute'), ('day', 'day')], max_length=6)),
                ('starts_at', models.DateTimeField()),
                ('count', models.PositiveIntegerField(default=0)),
                ('refused', models.PositiveIntegerField(default=0)),
                ('agent', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to='policies.agent')),
            ],
        ),
        migrations.AddConstraint(
            model_name='user',
            constraint=models.CheckConstraint(condition=models.Q(('is_superuser', False)), name='user_never_superuser'),
        ),
        migrations.AddConstraint(
            model_name='agent',
            constraint=models.CheckConstraint(condition=models.Q(('mode__in', ['read_only', 'standard', 'paused'])), name='agent_mode_known'),
        ),
        migrations.AddConstraint(
            model_name='agentkey',
            constraint=models.CheckConstraint(condition=models.Q(('scopes__contained_by', ['act', 'attest']), models.Q(('scopes', []), _negated=True)), name='key_scopes_known'),
        ),
        migrations.AddConstraint(
            model_name='gathered',
            constraint=models.UniqueConstraint(fields=('agent', 'label'), name='gathered_label_once'),
        ),
        migrations.AddConstraint(
            model_name='grant',
            constraint=models.UniqueConstraint(condition=models.Q(('state__in', ['active', 'revoking'])), fields=('action_id',), name='grant_one_alive_an_action'),
        ),
        migrations.AddConstraint(
            model_name='grant',
            constraint=models.CheckConstraint(condition=models.Q(('expires_at__gt', models.F('minted_at'))), name='grant_ends'),
        ),
        migrations.AddIndex(
            model_name='source',
            index=models.Index(fields=['session', 'id'], name='source_of_session'),
        ),
        migrations.AddConstraint(
            model_name='source',
            constraint=models.CheckConstraint(condition=models.Q(('origin__in', ['user', 'trusted', 'agent', 'untrusted'])), name='source_origin_known'),
        ),
        migrations.AddConstraint(
            model_name='usage',
            constraint=models.UniqueConstraint(fields=('agent', 'window', 'starts_at'), name='usage_window_once'),
        ),
    ]
