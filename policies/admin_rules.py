"""The desk on which a rule is written: what its form is told while somebody types, where it leads next."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.urls import path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from policies import facts, releases, ruledesk
from policies.access import Verb
from policies.admin_base import RoomAdmin, require
from policies.arguments import ArgumentsRefused, parse_json
from policies.models import Rule
from policies.rules import sentence
from traces.problems import Refused


class WhoIsAsked(admin.SimpleListFilter):
    """Rules by the group that they ask; a rule that asks nobody is in none of them."""

    title, parameter_name = "who is asked", "approvers"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        names = Rule.objects.exclude(approvers="").order_by("approvers").values_list("approvers", flat=True)
        return [(name, name) for name in names.distinct()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Rule]) -> QuerySet[Rule]:
        return queryset.filter(approvers=self.value()) if self.value() else queryset


class RuleDesk(RoomAdmin):
    """What the page of a rule has beyond the stock one."""

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.draft)
        return [path("draft/", view, name="policies_rule_draft"), *super().get_urls()]

    def draft(self, request: HttpRequest) -> HttpResponse:
        """POST of what the form holds, as JSON: its CEL, its sentence, its mistakes. Nothing is stored."""
        require(request, Verb.POLICY_EDIT)
        if request.method != "POST":
            return JsonResponse({"why": "POST what the form holds."}, status=405, headers={"Allow": "POST"})
        try:
            return JsonResponse(ruledesk.look(parse_json(request.body, max_bytes=ruledesk.MAX_WISH)))
        except (Refused, ArgumentsRefused) as refused:
            return JsonResponse({"why": refused.detail}, status=400)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        writes = self.has_add_permission(request) or self.has_change_permission(request)
        context["desk"] = ruledesk.furniture() if writes else None
        return super().render_change_form(request, context, *args, **kwargs)

    def response_post_save_add(self, request: HttpRequest, obj: Any) -> HttpResponseRedirect:
        return self.next_page(request) or super().response_post_save_add(request, obj)

    def response_post_save_change(self, request: HttpRequest, obj: Any) -> HttpResponseRedirect:
        return self.next_page(request) or super().response_post_save_change(request, obj)

    def next_page(self, request: HttpRequest) -> HttpResponseRedirect | None:
        """Where the button that was pressed leads; None to where the stock page does."""
        return HttpResponseRedirect(reverse("policy-backtest")) if "_backtest" in request.POST else None

    @admin.display(description="read aloud")
    def aloud(self, rule: Rule) -> str:
        return sentence(releases.spec(rule)) if rule.pk else "—"

    @admin.display(description="facts and functions")
    def vocabulary(self, rule: Rule) -> SafeString:
        rows = [(fact.name, fact.type, fact.doc, fact.example) for fact in facts.FACTS]
        rows += [
            (f"{item.name}({', '.join(item.parameters)})", item.returns, item.doc, item.example)
            for item in facts.FUNCTIONS
        ]
        cells = format_html_join(
            "", "<tr><th>{}</th><td>{}</td><td>{}</td><td><code>{}</code></td></tr>", rows
        )
        return format_html("<table>{}</table>", cells)
