"""What happened, as rows. `Entry`, `Leaf`, `Tile` and `Checkpoint` are insert-only, which the database
enforces (migration 0002 and `traces.roles`); `Span` is a projection of entries and can be rebuilt.

Everything above points here by kind and id strings only, so that the log outlives what it speaks about.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchQuery, SearchVector, SearchVectorField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Length

from traces.ids import uuid7

models.BinaryField.register_lookup(Length)


class SubjectKeyQuerySet(models.QuerySet["SubjectKey"]):
    def live(self) -> SubjectKeyQuerySet:
        """Keys that still open payloads."""
        return self.filter(wrapped__isnull=False)


class SubjectKey(models.Model):
    """The key that seals the payloads about one data subject, wrapped by the key-encryption key.

    Without `wrapped` the subject is erased: the payloads stay in the log and nobody can read them.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    subject = models.TextField()
    wrapped = models.BinaryField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    erased_at = models.DateTimeField(null=True)

    objects = SubjectKeyQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["subject"], condition=Q(wrapped__isnull=False), name="traces_one_live_key_a_subject"
            ),
            models.CheckConstraint(
                condition=Q(wrapped__isnull=True, erased_at__isnull=False)
                | Q(wrapped__isnull=False, erased_at__isnull=True),
                name="traces_erased_means_no_key",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.subject} ({'erased' if self.wrapped is None else 'live'})"


class SessionQuerySet(models.QuerySet["Session"]):
    def of_teams(self, teams: Iterable[str]) -> SessionQuerySet:
        return self.filter(team__in=list(teams))

    def visible_to(self, teams: Iterable[str] | None, sessions: Any = None) -> SessionQuerySet:
        """Sessions of these teams (None: every team), and these sessions (ids, or a query of ids)."""
        if teams is None:
            return self
        of_teams = Q(team__in=list(teams))
        return self.filter(of_teams if sessions is None else of_teams | Q(pk__in=sessions))

    def of_agent(self, agent_id: str) -> SessionQuerySet:
        return self.filter(agent_id=agent_id)

    def serving(self, user: str) -> SessionQuerySet:
        """Sessions that serve this person."""
        return self.filter(user=user)

    def newest_first(self) -> SessionQuerySet:
        return self.order_by("-last_at", "-id")


class Session(models.Model):
    """One run of one agent: a chain of entries, and the labels of what the run has read."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    agent_id = models.CharField(max_length=64)
    agent_name = models.CharField(max_length=200)
    team = models.CharField(max_length=150, blank=True)
    purpose = models.TextField(blank=True)
    # The tools that it was opened for, names and patterns; none means any. The database keeps it as it is.
    tools = ArrayField(models.CharField(max_length=100), default=list, blank=True)
    user = models.TextField(blank=True)
    external_id = models.CharField(max_length=200, blank=True)
    parent = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.PROTECT, related_name="children"
    )
    labels = ArrayField(models.CharField(max_length=64), default=list, blank=True)
    attested = models.BooleanField(default=False)
    # The end of the chain: how many entries, and the leaf hash of the newest (empty before the first).
    seq = models.BigIntegerField(default=0)
    head = models.BinaryField(default=b"")
    started_at = models.DateTimeField(auto_now_add=True)
    last_at = models.DateTimeField(auto_now_add=True)

    objects = SessionQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["agent_id", "-last_at"], name="traces_session_agent"),
            models.Index(fields=["team", "-last_at"], name="traces_session_team"),
            models.Index(fields=["-last_at", "-id"], name="traces_session_newest"),
            models.Index(fields=["user"], condition=~Q(user=""), name="traces_session_user"),
            models.Index(
                fields=["agent_id", "external_id"],
                condition=~Q(external_id=""),
                name="traces_session_external",
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(seq=0, head__length=0) | Q(seq__gt=0, head__length=32), name="traces_session_head"
            ),
            models.CheckConstraint(condition=~Q(parent=F("id")), name="traces_session_not_its_own_parent"),
        ]

    def __str__(self) -> str:
        return f"{self.agent_name} {self.id}"


class EntryQuerySet(models.QuerySet["Entry"]):
    def of_session(self, session_id: uuid.UUID | str) -> EntryQuerySet:
        """A session's entries in the order of its chain."""
        return self.filter(session_id=session_id).order_by("seq")

    def about(self, action_id: str) -> EntryQuerySet:
        """An action's entries in the order in which they were written."""
        return self.filter(action_id=action_id).order_by("id")

    def pending(self) -> EntryQuerySet:
        """Entries that no checkpoint covers yet."""
        return self.filter(outbox__isnull=False)


class Entry(models.Model):
    """One event: canonical header bytes and a sealed payload. Never changed, never deleted.

    The columns beside `header` repeat what it says so that it can be found; `verify` compares them.
    """

    id = models.BigAutoField(primary_key=True)
    uuid = models.UUIDField(unique=True, default=uuid7, editable=False)
    session = models.ForeignKey(Session, null=True, on_delete=models.PROTECT, related_name="entries")
    seq = models.BigIntegerField(null=True)
    kind = models.CharField(max_length=64)
    action_id = models.CharField(max_length=64, null=True)
    actor = models.CharField(max_length=200)
    at = models.DateTimeField()
    header = models.BinaryField()
    sealed = models.BinaryField()
    leaf_hash = models.BinaryField()
    subject_key = models.ForeignKey(SubjectKey, on_delete=models.PROTECT, related_name="entries")

    objects = EntryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "entries"
        indexes = [models.Index(fields=["action_id", "id"], name="traces_entry_action")]
        constraints = [
            models.UniqueConstraint(fields=["session", "seq"], name="traces_entry_one_a_seq"),
            models.CheckConstraint(condition=Q(leaf_hash__length=32), name="traces_entry_hash_is_sha256"),
            models.CheckConstraint(
                condition=Q(session__isnull=True, seq__isnull=True) | Q(session__isnull=False, seq__gt=0),
                name="traces_entry_seq_with_session",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.uuid}"


class Outbox(models.Model):
    """An entry that waits for the sequencer."""

    entry = models.OneToOneField(Entry, primary_key=True, on_delete=models.PROTECT, related_name="outbox")

    class Meta:
        verbose_name_plural = "outbox"


class Leaf(models.Model):
    """The place of an entry in the Merkle tree."""

    index = models.BigIntegerField(primary_key=True)
    entry = models.OneToOneField(Entry, on_delete=models.PROTECT, related_name="leaf")
    hash = models.BinaryField()

    class Meta:
        verbose_name_plural = "leaves"
        constraints = [
            models.CheckConstraint(condition=Q(index__gte=0), name="traces_leaf_index_from_zero"),
            models.CheckConstraint(condition=Q(hash__length=32), name="traces_leaf_hash_is_sha256"),
        ]


class Tile(models.Model):
    """Up to 256 hashes of one level of the tree (C2SP tlog-tiles). Only ever grows at its end."""

    level = models.SmallIntegerField()
    index = models.BigIntegerField()
    width = models.SmallIntegerField()
    data = models.BinaryField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["level", "index"], name="traces_tile_place"),
            models.CheckConstraint(
                condition=Q(level__gte=0, level__lte=63, index__gte=0), name="traces_tile_coordinates"
            ),
            models.CheckConstraint(
                condition=Q(width__gte=1, width__lte=256, data__length=F("width") * 32),
                name="traces_tile_width",
            ),
        ]


class CheckpointQuerySet(models.QuerySet["Checkpoint"]):
    def newest(self) -> Checkpoint | None:
        return self.order_by("-size").first()


class Checkpoint(models.Model):
    """The tree's size and root, signed (C2SP tlog-checkpoint)."""

    size = models.BigIntegerField(primary_key=True)
    root = models.BinaryField()
    note = models.TextField()
    at = models.DateTimeField()

    objects = CheckpointQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(size__gt=0), name="traces_checkpoint_not_empty"),
            models.CheckConstraint(condition=Q(root__length=32), name="traces_checkpoint_root_is_sha256"),
        ]


class SpanQuerySet(models.QuerySet["Span"]):
    def visible_to(self, teams: Iterable[str] | None, sessions: Any = None) -> SpanQuerySet:
        """Spans of these teams (None: every team), and of these sessions (ids, or a query of ids)."""
        if teams is None:
            return self
        of_teams = Q(team__in=list(teams))
        return self.filter(of_teams if sessions is None else of_teams | Q(session_id__in=sessions))

    def matching(self, words: str) -> SpanQuerySet:
        """Full-text search in the web style: words, "phrases", -not, or."""
        return self.filter(document=SearchQuery(words, config="simple", search_type="websearch"))

    def older_than(self, entry_id: int) -> SpanQuerySet:
        return self.filter(entry_id__lt=entry_id)

    def newer_than(self, entry_id: int) -> SpanQuerySet:
        return self.filter(entry_id__gt=entry_id)


class Span(models.Model):
    """What search and the trace pages show of an entry; rebuilt from payloads, purged on erasure."""

    entry = models.OneToOneField(Entry, primary_key=True, on_delete=models.PROTECT, related_name="span")
    session = models.ForeignKey(Session, null=True, on_delete=models.PROTECT, related_name="spans")
    agent_id = models.CharField(max_length=64, blank=True)
    team = models.CharField(max_length=150, blank=True)
    kind = models.CharField(max_length=64)
    action_id = models.CharField(max_length=64, null=True)
    at = models.DateTimeField()
    title = models.TextField(blank=True)
    text = models.TextField(blank=True)
    attributes: models.JSONField[Any, Any] = models.JSONField(default=dict, blank=True)
    document = models.GeneratedField(
        expression=SearchVector("title", weight="A", config="simple")
        + SearchVector("text", weight="B", config="simple"),
        output_field=SearchVectorField(),
        db_persist=True,
    )

    objects = SpanQuerySet.as_manager()

    class Meta:
        indexes = [
            GinIndex(fields=["document"], name="traces_span_document"),
            models.Index(fields=["session", "entry"], name="traces_span_session"),
            models.Index(fields=["team", "-entry"], name="traces_span_team"),
            models.Index(fields=["agent_id", "-entry"], name="traces_span_agent"),
            models.Index(fields=["kind", "-entry"], name="traces_span_kind"),
            models.Index(fields=["action_id", "-entry"], name="traces_span_action"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.title}"
