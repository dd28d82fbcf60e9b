"""What an agent may do: people, agents and their keys, tools, rules, releases, grants, secrets.

Rows of Tool, Rule and Case are drafts; what decides is the published Release that froze them.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from django.contrib.auth.models import AbstractUser, Group
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils import timezone

from policies import secretvalues  # noqa: F401 - from here on the firewall and the log know the values
from policies.absence_models import Absence, StandsIn  # noqa: F401 - Django finds models here
from policies.allowance_models import Allowance  # noqa: F401 - Django finds models here
from policies.factor_models import (  # noqa: F401 - Django finds models here
    AuthenticatorApp,
    CodeTries,
    Passkey,
    RecoveryCode,
)
from policies.foureyes_models import ProposedChange  # noqa: F401 - Django finds models here
from policies.grant_models import Grant  # noqa: F401 - Django finds models here
from policies.limit_models import Charge, Hit, Limit, Tally  # noqa: F401 - Django finds models here
from policies.querysets import KeyQuerySet, LinkQuerySet, TokenQuerySet
from policies.secret_models import NAME, PastValue, Secret  # noqa: F401 - Django finds models here
from policies.token_models import IssuedToken, SigningKey  # noqa: F401 - Django finds models here
from policies.trail_models import Recall, Trail  # noqa: F401 - Django finds models here


class Role(models.TextChoices):
    ADMINISTRATOR = "administrator", "Administrator"
    EDITOR = "editor", "Policy editor"
    APPROVER = "approver", "Approver"
    AUDITOR = "auditor", "Auditor"
    MEMBER = "member", "Member"


class User(StandsIn, AbstractUser):
    """A person. Groups are teams and approver groups at once; roles say what the person may do there."""

    roles = ArrayField(models.CharField(max_length=20, choices=Role), default=list, blank=True)
    single_keys = models.BooleanField(default=True, help_text="Whether keys of one character do something.")

    class Meta(AbstractUser.Meta):
        # Django lets a superuser past every backend, hence past the one table of role and verb.
        constraints = [models.CheckConstraint(name="user_never_superuser", condition=Q(is_superuser=False))]

    def has_role(self, role: str) -> bool:
        return self.is_active and role in self.roles

    @property
    def group_names(self) -> frozenset[str]:
        """Names of the groups, read once an instance: a request or a socket message asks many times."""
        if not hasattr(self, "_group_names"):
            self._group_names = frozenset(self.groups.values_list("name", flat=True))
        return self._group_names


class Link(models.Model):
    """A one-time link: set-up, invitation, password reset. Only its hash is stored."""

    class Purpose(models.TextChoices):
        SETUP = "setup"
        INVITATION = "invitation"
        RESET = "reset"
        DEMO = "demo"  # signs in as often as it is opened, on loopback only

    user = models.ForeignKey(User, on_delete=models.CASCADE, null=True, blank=True)
    purpose = models.CharField(max_length=12, choices=Purpose)
    sha256 = models.CharField(max_length=64, unique=True)
    by = models.CharField(max_length=150, blank=True, help_text="Who made it, as the log names them.")
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)

    objects = LinkQuerySet.as_manager()


class PersonalToken(models.Model):
    """Lets a person's own script call the reviewer API; it expires and never satisfies step-up."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="tokens")
    prefix = models.CharField(max_length=12, db_index=True)
    sha256 = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    uses = models.PositiveBigIntegerField(default=0)

    objects = TokenQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.prefix}… of {self.user}"


class Agent(models.Model):
    class Mode(models.TextChoices):
        READ_ONLY = "read_only", "Read only"
        STANDARD = "standard", "Standard"
        PAUSED = "paused", "Paused"

    name = models.CharField(max_length=100, unique=True, validators=[NAME])
    description = models.CharField(max_length=500, blank=True)
    owner = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="agents")
    team = models.ForeignKey(Group, on_delete=models.PROTECT, null=True, blank=True, related_name="agents")
    mode = models.CharField(max_length=10, choices=Mode, default=Mode.READ_ONLY)
    labels = ArrayField(models.CharField(max_length=50), default=list, blank=True)
    actions_per_minute = models.PositiveIntegerField(default=60)
    actions_per_day = models.PositiveIntegerField(default=5000)
    pending = models.PositiveIntegerField(default=50)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                name="agent_mode_known", condition=Q(mode__in=["read_only", "standard", "paused"])
            )
        ]

    def __str__(self) -> str:
        return self.name


class AgentKey(models.Model):
    """`ask_` + 256 random bits, stored as SHA-256 beside a lookup prefix."""

    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="keys")
    prefix = models.CharField(max_length=12, db_index=True)
    sha256 = models.CharField(max_length=64, unique=True)
    scopes = ArrayField(models.CharField(max_length=10), default=list)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    uses = models.PositiveBigIntegerField(default=0)

    objects = KeyQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="key_scopes_known", condition=Q(scopes__contained_by=["act", "attest"]) & ~Q(scopes=[])
            ),
        ]

    def __str__(self) -> str:
        return f"{self.prefix}… of {self.agent}"

    @property
    def attests(self) -> bool:
        return "attest" in self.scopes


class Usage(models.Model):
    """Actions an agent was let in with, counted a minute and a day; locked through the agent's row."""

    agent = models.ForeignKey(Agent, on_delete=models.CASCADE)
    window = models.CharField(max_length=6, choices=[("minute", "minute"), ("day", "day")])
    starts_at = models.DateTimeField()
    count = models.PositiveIntegerField(default=0)
    refused = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(name="usage_window_once", fields=["agent", "window", "starts_at"]),
        ]


class Gathered(models.Model):
    """When an agent last gathered a label by what it read; sessions that nobody attests inherit from here."""

    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="gathered")
    label = models.CharField(max_length=64)
    at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(name="gathered_label_once", fields=["agent", "label"])]


class Tool(models.Model):
    class Runs(models.TextChoices):
        AGENT = "agent"
        PYTHON = "python"
        SHELL = "shell"
        SQL = "sql"
        HTTP = "http"
        MCP = "mcp"
        CREDENTIAL = "credential"

    class Effect(models.TextChoices):
        READ = "read"
        WRITE = "write"
        DESTRUCTIVE = "destructive"

    class Output(models.TextChoices):
        UNTRUSTED = "untrusted"
        TRUSTED = "trusted"

    class Sends(models.TextChoices):
        NONE = "none"
        INTERNAL = "internal"
        EXTERNAL = "external"

    name = models.CharField(max_length=100, unique=True, validators=[NAME])
    description = models.TextField(blank=True)
    runs = models.CharField(max_length=12, choices=Runs, default=Runs.AGENT)
    effect = models.CharField(max_length=12, choices=Effect, default=Effect.DESTRUCTIVE)
    output = models.CharField(max_length=10, choices=Output, default=Output.UNTRUSTED)
    untrusted_fields = ArrayField(models.CharField(max_length=100), default=list, blank=True)
    returns = ArrayField(models.CharField(max_length=10), default=list, blank=True)
    sends = models.CharField(max_length=10, choices=Sends, default=Sends.EXTERNAL)
    idempotent = models.BooleanField(default=False)
    authority = ArrayField(models.CharField(max_length=100), default=list, blank=True)
    target = models.CharField(max_length=100, blank=True)
    summary = models.CharField(max_length=300, blank=True)
    labels = ArrayField(models.CharField(max_length=50), default=list, blank=True)
    parameters = models.JSONField(default=dict)
    config = models.JSONField(
        default=dict,
        blank=True,
        help_text="How it runs: issuer, source, argv, limits, egress, secrets, minutes.",
    )
    paused = models.BooleanField(default=False)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Rule(models.Model):
    class Effect(models.TextChoices):
        ALLOW = "allow"
        ASK = "ask"
        BLOCK = "block"

    class Mode(models.TextChoices):
        LIVE = "live"
        SHADOW = "shadow"

    name = models.CharField(max_length=100, unique=True, validators=[NAME])
    description = models.CharField(max_length=500, blank=True)
    effect = models.CharField(max_length=5, choices=Effect)
    agents = ArrayField(models.CharField(max_length=100), default=list, blank=True)
    tools = ArrayField(models.CharField(max_length=100), default=list, blank=True)
    when = models.TextField(blank=True)
    approvers = models.CharField(max_length=150, blank=True)
    quorum = models.PositiveSmallIntegerField(default=1)
    expires_after = models.PositiveIntegerField(default=900, help_text="Seconds an approval is waited for.")
    step_up = models.BooleanField(default=False)
    separate_duties = models.BooleanField(default=False)
    escalate = models.JSONField(default=list, blank=True, help_text="Steps: {after (seconds), to (group)}.")
    egress = ArrayField(
        models.CharField(max_length=500), default=None, null=True, blank=True,
        help_text="Where it applies, the run reaches only these of its tool's lines; null: all of them.",
    )  # fmt: skip
    fallback = models.BooleanField(
        default=False, help_text="Considered only where no other live rule matches: the last word of a set."
    )
    mode = models.CharField(max_length=6, choices=Mode, default=Mode.LIVE)
    enabled = models.BooleanField(default=True)
    until = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(name="rule_quorum_positive", condition=Q(quorum__gte=1)),
            models.CheckConstraint(
                name="rule_ask_names_approvers", condition=~Q(effect="ask") | ~Q(approvers="")
            ),
            models.CheckConstraint(name="rule_expiry_positive", condition=Q(expires_after__gte=1)),
        ]

    def __str__(self) -> str:
        return self.name


class Case(models.Model):
    """A stored example call and the effect that any release must give it."""

    name = models.CharField(max_length=200, unique=True)
    tool = models.CharField(max_length=100)
    args = models.JSONField(default=dict)
    agent = models.CharField(max_length=100, blank=True)
    labels = ArrayField(models.CharField(max_length=20), default=list, blank=True)
    origin = models.JSONField(default=dict, blank=True)
    session = models.JSONField(default=dict, blank=True)
    expect = models.CharField(max_length=5, choices=Rule.Effect)
    or_stricter = models.BooleanField(
        default=False, help_text="A stricter effect than the expected one passes too."
    )

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Release(models.Model):
    """Rules, tools, detectors and approver groups frozen under the digest of their content."""

    digest = models.CharField(max_length=64, db_index=True)
    content = models.TextField(help_text="Canonical JSON (RFC 8785); the digest is over exactly this.")
    published_at = models.DateTimeField(default=timezone.now)
    published_by = models.CharField(max_length=150)
    note = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"release {self.id} ({self.digest[:12]})"


class Switch(models.Model):
    """The kill switch: a row stops what it names until it is lifted."""

    scope = models.CharField(
        max_length=160, unique=True, help_text="all, agent:NAME, group:NAME or tool:NAME"
    )
    reason = models.CharField(max_length=500, blank=True)
    by = models.CharField(max_length=150)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name, verbose_name_plural = "kill switch", "kill switches"

    def __str__(self) -> str:
        return self.scope


class Source(models.Model):
    """What was said in a session, by whom, as text to match arguments against; a projection of the log.

    A row never changes, which the database enforces, so that what is prepared from it can be kept. `stamp`
    tells rows apart by what they hold; `weight` is what looking through the text costs, a character of ASCII
    being one.
    """

    FOREIGN = 8

    stamp = models.BigIntegerField(default=0, editable=False)
    weight = models.PositiveIntegerField(default=0, editable=False)
    session = models.ForeignKey("traces.Session", on_delete=models.CASCADE, related_name="sources")
    entry = models.UUIDField(unique=True)
    origin = models.CharField(max_length=10)
    kind = models.CharField(max_length=30)
    who = models.CharField(max_length=150, blank=True)
    text = models.TextField()
    quoted = models.JSONField(default=list)
    fields = models.JSONField(default=list)
    call = models.JSONField(default=None, null=True)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = [
            models.Index(name="source_of_session", fields=["session", "id"], include=["stamp", "weight"])
        ]
        constraints = [
            models.CheckConstraint(
                name="source_origin_known", condition=Q(origin__in=["user", "trusted", "agent", "untrusted"])
            ),
            # `save` weighs; a row written past it would be looked through for nothing.
            models.CheckConstraint(name="source_weighed", condition=Q(weight__gt=0)),
        ]

    def save(self, *args: Any, **kwargs: Any) -> None:
        apart = ("id", "stamp", "weight", "at")
        held = [
            str(getattr(self, one.attname)) for one in self._meta.concrete_fields if one.name not in apart
        ]
        digest = sha256("\0".join(held).encode("utf-8", "surrogatepass")).digest()
        self.stamp = int.from_bytes(digest[:8], "big", signed=True)
        self.weight = len(self.text) * (1 if self.text.isascii() else self.FOREIGN)
        super().save(*args, **kwargs)
