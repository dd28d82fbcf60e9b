"""What the admin's pages share: refusals told on the page, changes told to the log, values shown once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import quote
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from policies import access, changes
from policies.access import Verb
from policies.foureyes import NeedsSecond, Wish
from policies.models import User
from traces.problems import Refused


def person(request: HttpRequest) -> User:
    """Whoever is signed in; the admin lets nobody else in."""
    assert isinstance(request.user, User)
    return request.user


def actor(request: HttpRequest) -> str:
    """How the log names whoever is signed in."""
    return access.actor(person(request))


def require(request: HttpRequest, verb: Verb) -> None:
    """Raises PermissionDenied, with the reason, where the table says no."""
    answer = access.may(person(request), verb)
    if not answer.allowed:
        raise PermissionDenied(answer.why)


class RoomAdmin(admin.ModelAdmin):
    """A page of the admin whose verbs may refuse: the refusal is shown, nothing is half done."""

    # The stock page deletes many rows without the verb that tells the log.
    actions: Any = ()
    show_full_result_count = False

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """A list is headed by what it lists: many who read it may change nothing."""
        named = {"title": str(self.opts.verbose_name_plural).capitalize()}
        return super().changelist_view(request, {**named, **(extra_context or {})})

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except Refused as refused:
            return self.refused(request, refused, back=request.get_full_path())

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        try:
            return super().delete_view(request, object_id, extra_context)
        except Refused as refused:
            listing = reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")
            return self.refused(request, refused, back=listing)

    def refused(self, request: HttpRequest, refused: Refused, *, back: str) -> HttpResponse:
        """Say it; what a second person has to confirm is kept for them."""
        if isinstance(refused, NeedsSecond):
            self.keep(request, refused.wish)
            return redirect("changes")
        self.message_user(request, refused.detail, messages.ERROR)
        return redirect(back)

    def keep(self, request: HttpRequest, wish: Wish) -> None:
        """Propose a change, and say that it waits."""
        row = changes.propose(wish, by=actor(request))
        self.message_user(request, f"Change {row.pk} waits for somebody else to confirm it: {row.title}.")

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        found = super().get_actions(request)
        return {name: action for name, action in found.items() if name != "delete_selected"}

    def do(self, request: HttpRequest, rows: Iterable[Model], verb: Any, done: str) -> None:
        """Call a verb for each selected row and say how often it was done; refusals are said one by one."""
        count = 0
        for row in rows:
            try:
                verb(row)
                count += 1
            except NeedsSecond as needed:
                self.keep(request, needed.wish)
            except Refused as refused:
                self.message_user(request, f"{row}: {refused.detail}", messages.ERROR)
        if count:
            self.message_user(request, f"{count} {done}.")

    def changed_page(self, row: Model) -> str:
        """The address of a row's own page."""
        return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[quote(row.pk)])

    def page(self, request: HttpRequest, template: str, title: str, **shown: Any) -> HttpResponse:
        """A page within the admin's frame; like all of the admin's, no cache keeps it."""
        context = {**self.admin_site.each_context(request), "title": title, "opts": self.opts, **shown}
        return render(request, template, context)


class ReadOnlyAdmin(RoomAdmin):
    """Rows that verbs alone write."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [field.name for field in self.opts.fields if field.name not in (self.exclude or ())]

    def may_change(self, request: HttpRequest) -> bool:
        """Whether the table lets this person do what the page's actions do."""
        return super().has_change_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_act_permission(self, request: HttpRequest) -> bool:
        """What actions with `permissions=["act"]` ask."""
        return self.may_change(request)


def changed_fields(form: ModelForm[Any], *, change: bool) -> str:
    """The fields that a form changed, as words."""
    return (", ".join(form.changed_data) + " changed") if change else "created"
