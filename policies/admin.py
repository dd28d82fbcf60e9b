"""The admin's rooms for policy: agents, tools, rules, cases, releases, the kill switch, grants."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin, messages
from django.db.models import Max, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import path
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from policies import (
    admin_accounts,
    admin_allowances,
    agents,
    budgets,
    forms,
    grants,
    limits,
    people,
    releases,
)
from policies.access import Verb
from policies.admin_base import ReadOnlyAdmin, RoomAdmin, actor, changed_fields, require
from policies.admin_rules import RuleDesk, WhoIsAsked
from policies.engine import sentence
from policies.limit_models import CEILINGS, Limit
from policies.models import Agent, AgentKey, Case, Grant, Release, Rule, Switch, Tool
from policies.rules import RuleSpec
from traces.problems import Refused

__all__ = ["admin_accounts", "admin_allowances"]

SHOWN_OF_RELEASE: Any = ["digest", "published_at", "published_by", "note", "rules", "tools"]
SHOWN_OF_KEY: Any = ["prefix", "scopes", "created_at", "expires_at", "revoked_at", "last_used_at", "uses"]


class DraftAdmin(RoomAdmin):
    """Rows that are drafts until they are published: every change is logged as one."""

    def save_model(self, request: HttpRequest, obj: Any, form: ModelForm[Any], change: bool) -> None:
        super().save_model(request, obj, form, change)
        if form.changed_data or not change:
            self.drafted(request, obj, changed_fields(form, change=change))

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        super().delete_model(request, obj)
        self.drafted(request, obj, "removed")

    def drafted(self, request: HttpRequest, obj: Any, what: str) -> None:
        about = f"{self.opts.verbose_name} {obj.name}"
        releases.drafted(by=actor(request), what=about.capitalize(), changed=[f"{about}: {what}"])


@admin.register(Tool)
class ToolAdmin(DraftAdmin):
    form = forms.ToolForm
    list_display = ["name", "runs", "effect", "sends", "output", "switch"]
    list_filter = ["runs", "effect", "sends", "output", "paused"]
    search_fields = ["name", "description"]
    actions = ["pause", "resume"]
    fieldsets = [
        (
            None,
            {"fields": ["name", "description", "runs", "effect", "sends", "idempotent", "labels", "paused"]},
        ),
        ("What it returns", {"fields": ["output", "untrusted_fields", "returns"]}),
        ("Its arguments", {"fields": ["parameters", "authority", "target", "summary"]}),
        ("How it runs", {"fields": ["config"]}),
    ]

    def get_readonly_fields(self, request: HttpRequest, obj: Tool | None = None) -> list[str]:
        # Rules, cases and the kill switch name it, so it keeps its name.
        return ["name"] if obj is not None else []

    @admin.display(description="pause", ordering="paused")
    def switch(self, tool: Tool) -> str:
        return "paused" if tool.paused else ""

    @admin.action(description="Pause: nothing uses them from now on", permissions=["change"])
    def pause(self, request: HttpRequest, queryset: QuerySet[Tool]) -> None:
        self.do(
            request,
            queryset,
            lambda tool: limits.pause_tool(tool=tool, paused=True, by=actor(request)),
            "paused",
        )

    @admin.action(description="Resume", permissions=["change"])
    def resume(self, request: HttpRequest, queryset: QuerySet[Tool]) -> None:
        self.do(
            request,
            queryset,
            lambda tool: limits.pause_tool(tool=tool, paused=False, by=actor(request)),
            "resumed",
        )


@admin.register(Rule)
class RuleAdmin(RuleDesk, DraftAdmin):
    form = forms.RuleForm
    list_display = ["name", "aloud", "holds"]
    list_filter = ["effect", "mode", "enabled", "fallback", WhoIsAsked]
    search_fields = ["name", "description", "when"]
    readonly_fields = ["aloud", "vocabulary"]
    actions = ["enable", "disable"]
    fieldsets = [
        (None, {"fields": ["name", "description", "effect", "aloud"]}),
        ("When", {"fields": ["agents", "tools", "when", "fallback"]}),
        (
            "Who is asked",
            {"fields": ["approvers", "quorum", "expires_after", "step_up", "separate_duties", "escalate"]},
        ),
        ("What the run may reach", {"fields": ["egress"]}),
        ("Whether it holds", {"fields": ["mode", "enabled", "until"]}),
        ("The words of a condition", {"fields": ["vocabulary"], "classes": ["collapse"]}),
    ]

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.publish)
        return [path("publish/", view, name="policies_publish"), *super().get_urls()]

    @admin.display(ordering="enabled")
    def holds(self, rule: Rule) -> str:
        """Whether the draft of the rule would hold, in a word or two."""
        if not rule.enabled:
            return "disabled"
        until = f" until {rule.until:%Y-%m-%d %H:%M} UTC" if rule.until else ""
        return f"{'fallback, ' if rule.fallback else ''}{rule.mode}{until}"

    @admin.action(description="Enable in the draft", permissions=["change"])
    def enable(self, request: HttpRequest, queryset: QuerySet[Rule]) -> None:
        self.do(request, queryset, lambda rule: self.switch(request, rule, True), "enabled in the draft")

    @admin.action(description="Disable in the draft", permissions=["change"])
    def disable(self, request: HttpRequest, queryset: QuerySet[Rule]) -> None:
        self.do(request, queryset, lambda rule: self.switch(request, rule, False), "disabled in the draft")

    def switch(self, request: HttpRequest, rule: Rule, enabled: bool) -> None:
        if rule.enabled != enabled:
            releases.edit(row=rule, values={"enabled": enabled}, by=actor(request))

    def publish(self, request: HttpRequest) -> HttpResponse:
        """What publishing would change, and, by POST, publishing."""
        require(request, Verb.POLICY_EDIT)
        form = forms.PublishForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                note, seen = form.cleaned_data["note"], form.cleaned_data["seen"]
                release = releases.publish(by=actor(request), note=note, seen=seen)
                self.message_user(request, f"Release {release.pk} decides from now on.")
                return redirect("admin:policies_release_changelist")
            except Refused as refused:
                self.message_user(request, refused.detail, messages.ERROR)
        content = releases.draft_content()
        frozen = releases.digest_of(content)
        form = forms.PublishForm(initial={"seen": frozen, "note": request.POST.get("note", "")})
        shown = {
            "diff": releases.difference(content),
            "problems": releases.problems(content),
            "form": form,
            "digest": frozen,
        }
        return self.page(request, "policies/publish.html", "Publish the draft", **shown)


@admin.register(Case)
class CaseAdmin(DraftAdmin):
    form = forms.CaseForm
    list_display = ["name", "tool", "agent", "expect"]
    list_filter = ["expect", "tool"]
    search_fields = ["name", "tool"]


@admin.register(Release)
class ReleaseAdmin(ReadOnlyAdmin):
    list_display = ["id", "short", "published_at", "published_by", "note"]
    list_display_links = ["id", "short"]
    search_fields = ["digest", "note"]
    fields = SHOWN_OF_RELEASE

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return SHOWN_OF_RELEASE

    @admin.display(description="digest")
    def short(self, release: Release) -> str:
        return release.digest[:12]

    @admin.display
    def rules(self, release: Release) -> SafeString:
        rules = [RuleSpec.from_json(rule) for rule in json.loads(release.content)["rules"]]
        lines = [(rule.name, sentence(rule), "" if rule.enabled else "(disabled)") for rule in rules]
        return format_html("<ul>{}</ul>", format_html_join("", "<li><b>{}</b>: {} {}</li>", lines))

    @admin.display
    def tools(self, release: Release) -> str:
        return ", ".join(tool["name"] for tool in json.loads(release.content)["tools"]) or "—"


class KeyInline(admin.TabularInline):
    model = AgentKey
    template = "policies/_agent_keys.html"
    extra = 0
    fields = SHOWN_OF_KEY
    readonly_fields = SHOWN_OF_KEY
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Agent)
class AgentAdmin(RoomAdmin):
    form = forms.AgentForm
    list_display = ["name", "team", "owner", "mode", "actions_per_minute", "last_seen"]
    list_filter = ["mode", "team"]
    list_select_related = ["team", "owner"]
    search_fields = ["name", "description"]
    inlines = [KeyInline]
    actions = ["pause", "read_only", "standard"]

    def get_readonly_fields(self, request: HttpRequest, obj: Agent | None = None) -> list[str]:
        # Rules and the kill switch name it, so it keeps its name.
        return ["name"] if obj is not None else []

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.issue)
        return [path("<int:agent_id>/key/", view, name="policies_agent_key"), *super().get_urls()]

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).annotate(seen=Max("keys__last_used_at"))

    @admin.display(description="last seen", ordering="seen")
    def last_seen(self, agent: Any) -> Any:
        return agent.seen

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # The log speaks of it for ever; an agent that is done with is paused.
        return False

    def save_model(self, request: HttpRequest, obj: Agent, form: ModelForm[Any], change: bool) -> None:
        waits = agents.withhold_mode(agent=obj, created=not change, by=actor(request))
        super().save_model(request, obj, form, change)
        if waits is not None:
            self.keep(request, waits)
        agents.changed(agent=obj, fields=form.changed_data, created=not change, by=actor(request))

    @admin.action(description="Pause at once", permissions=["change"])
    def pause(self, request: HttpRequest, queryset: QuerySet[Agent]) -> None:
        self.set_mode(request, queryset, Agent.Mode.PAUSED)

    @admin.action(description="Let them read only", permissions=["change"])
    def read_only(self, request: HttpRequest, queryset: QuerySet[Agent]) -> None:
        self.set_mode(request, queryset, Agent.Mode.READ_ONLY)

    @admin.action(description="Let them work (standard)", permissions=["change"])
    def standard(self, request: HttpRequest, queryset: QuerySet[Agent]) -> None:
        self.set_mode(request, queryset, Agent.Mode.STANDARD)

    def set_mode(self, request: HttpRequest, queryset: QuerySet[Agent], mode: str) -> None:
        self.do(
            request,
            queryset,
            lambda agent: agents.set_mode(agent=agent, mode=mode, by=actor(request)),
            f"set to {mode}",
        )

    def issue(self, request: HttpRequest, agent_id: int) -> HttpResponse:
        """A form for a new key and, by POST, the key: on this one page and never again."""
        require(request, Verb.KEYS_EDIT)
        agent = get_object_or_404(Agent, pk=agent_id)
        form = forms.KeyForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            days = form.cleaned_data["days"]
            ends = people.in_days(days) if days else None
            try:
                raw = agents.issue_key(agent, form.cleaned_data["scopes"], by=actor(request), expires_at=ends)
            except Refused as refused:
                return self.refused(request, refused, back=self.changed_page(agent))
            once = {"what": f"Key of {agent.name}", "value": raw, "back": self.changed_page(agent)}
            return self.page(request, "policies/shown_once.html", "A new key", **once)
        shown = {"form": form, "back": self.changed_page(agent), "button": "Make the key"}
        return self.page(request, "policies/make.html", f"A new key for {agent.name}", **shown)


@admin.register(Limit)
class LimitAdmin(RoomAdmin):
    """Limits that several share; they act at once, without a release."""

    form = forms.LimitForm
    list_display = ["name", "tool", "group", "agent", *CEILINGS]

    def save_model(self, request: HttpRequest, obj: Limit, form: ModelForm[Any], change: bool) -> None:
        super().save_model(request, obj, form, change)
        budgets.changed(obj, what="changed" if change else "created", by=actor(request))

    def delete_model(self, request: HttpRequest, obj: Limit) -> None:
        budgets.changed(obj, what="removed", by=actor(request))
        super().delete_model(request, obj)


@admin.register(Switch)
class SwitchAdmin(RoomAdmin):
    """The kill switch: to add a row is to stop, to delete it is to let run again."""

    form = forms.SwitchForm
    list_display = ["scope", "reason", "by", "at"]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Switch, form: ModelForm[Any], change: bool) -> None:
        stopped = limits.stop(scope=obj.scope, reason=obj.reason, by=actor(request))
        obj.pk = stopped.pk

    def delete_model(self, request: HttpRequest, obj: Switch) -> None:
        limits.lift(scope=obj.scope, by=actor(request))


@admin.register(Grant)
class GrantAdmin(ReadOnlyAdmin):
    list_display = [
        "id",
        "tool",
        "agent",
        "issuer",
        "state",
        "minted_at",
        "expires_at",
        "used_at",
        "revoked_at",
    ]
    list_filter = ["state", "issuer", "tool"]
    list_select_related = ["agent"]
    date_hierarchy = "minted_at"
    actions = ["revoke"]

    @admin.action(description="Revoke at once", permissions=["act"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[Grant]) -> None:
        def end(grant: Grant) -> None:
            if not grants.revoke(grant=grant, why="revoked in the admin", actor=actor(request)):
                raise Refused(
                    "unavailable", "it could not be taken back yet; this is tried again until it can"
                )

        self.do(request, queryset, end, "ended")
