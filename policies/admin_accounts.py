"""The admin's rooms for people and what they hold: users, groups, agents' keys, tokens, secrets."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.models import Group
from django.db.models import Count, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import path

from policies import accounts, agents, factors, forms, people, secrets
from policies.access import Verb
from policies.admin_base import ReadOnlyAdmin, RoomAdmin, actor, require
from policies.models import Agent, AgentKey, PersonalToken, Role, Rule, Secret, User
from traces import record
from traces.problems import Refused

admin.site.unregister(Group)


class RoleFilter(admin.SimpleListFilter):
    title = "role"
    parameter_name = "role"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(Role.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> QuerySet[User]:
        return queryset.filter(roles__contains=[self.value()]) if self.value() else queryset


@admin.register(User)
class UserAdmin(RoomAdmin):
    """People are invited: nobody but themselves ever types their password."""

    form = forms.UserForm
    list_display = ["username", "email", "role_names", "teams", "is_active", "last_login"]
    list_filter = [RoleFilter, "groups", "is_active"]
    search_fields = ["username", "email", "first_name", "last_name"]
    readonly_fields = ["last_login", "date_joined"]
    ordering = ["username"]
    actions = ["switch_off", "switch_on"]

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.make_link)
        reset = self.admin_site.admin_view(self.reset_factors)
        return [
            path("<int:user_id>/link/", view, name="policies_user_link"),
            path("<int:user_id>/factors/", reset, name="policies_user_factors"),
            *super().get_urls(),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        return super().get_queryset(request).prefetch_related("groups")

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> list[str]:
        known = obj is not None and obj.has_usable_password()
        return [*self.readonly_fields, *(["username"] if known else [])]

    def get_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        if obj is None:
            return ["username", "email", "roles", "groups"]
        names = ["username", "email", "first_name", "last_name", "is_active", "roles", "groups"]
        return [*names, "last_login", "date_joined"]

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"roles": list(people.DEFAULT_ROLES), **super().get_changeform_initial_data(request)}

    @admin.display(description="roles")
    def role_names(self, user: User) -> str:
        return ", ".join(user.roles) or "—"

    @admin.display(description="groups")
    def teams(self, user: User) -> str:
        return ", ".join(sorted(group.name for group in user.groups.all())) or "—"

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # The log speaks of them for ever; whoever leaves is switched off.
        return False

    def save_model(self, request: HttpRequest, obj: User, form: ModelForm[Any], change: bool) -> None:
        cleaned = form.cleaned_data
        if not change:
            groups = [group.name for group in cleaned["groups"]]
            invited = people.create_user(
                name=obj.username,
                email=cleaned["email"],
                groups=groups,
                roles=cleaned["roles"],
                by=actor(request),
            )
            obj.pk, form.invited = invited.user.pk, invited  # type: ignore[attr-defined]
            obj.refresh_from_db()
            return
        user = User.objects.get(pk=obj.pk)
        groups = [group.name for group in cleaned["groups"]]
        accounts.gate_whole(user, {**cleaned, "groups": groups}, actor(request))
        people.edit(user=user, values=cleaned, by=actor(request))

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """The groups are set by the verb that logs them."""
        if change:
            groups = [group.name for group in form.cleaned_data["groups"]]
            people.set_groups(user=User.objects.get(pk=form.instance.pk), groups=groups, by=actor(request))
        request.invited = getattr(form, "invited", None)  # type: ignore[attr-defined]

    def response_add(
        self, request: HttpRequest, obj: User, post_url_continue: str | None = None
    ) -> HttpResponse:
        return self.linked(request, obj, getattr(request, "invited").link.url)  # noqa: B009

    def make_link(self, request: HttpRequest, user_id: int) -> HttpResponse:
        """By POST, an invitation for whoever has no password yet, else a link for a new one; shown once."""
        require(request, Verb.PEOPLE_EDIT)
        user = get_object_or_404(User, pk=user_id)
        if request.method == "POST":
            verb = people.reset if user.has_usable_password() else people.invite
            return self.linked(request, user, verb(user=user, by=actor(request)).url)
        shown = {"back": self.changed_page(user), "button": "Make the link"}
        return self.page(request, "policies/make.html", f"A link for {user.username}", **shown)

    def linked(self, request: HttpRequest, user: User, url: str) -> HttpResponse:
        what = f"{user.username} opens this within 30 minutes and sets a password"
        shown = {"what": what, "value": url, "back": self.changed_page(user)}
        return self.page(request, "policies/shown_once.html", f"A link for {user.username}", **shown)

    def reset_factors(self, request: HttpRequest, user_id: int) -> HttpResponse:
        """By POST, forget the second factors of somebody who lost them."""
        require(request, Verb.PEOPLE_EDIT)
        user = get_object_or_404(User, pk=user_id)
        back = self.changed_page(user)
        if request.method == "POST":
            try:
                factors.reset(user=user, by=actor(request))
            except Refused as refused:
                return self.refused(request, refused, back=back)
            self.message_user(request, f"{user.username} has no second factor any more.")
            return redirect(back)
        shown = {"back": back, "button": f"Forget {', '.join(factors.of(user).names) or 'nothing'}"}
        return self.page(request, "policies/make.html", f"Second factors of {user.username}", **shown)

    @admin.action(description="Switch off", permissions=["change"])
    def switch_off(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        verb = people.set_active
        self.do(
            request, queryset, lambda user: verb(user=user, active=False, by=actor(request)), "switched off"
        )

    @admin.action(description="Switch on", permissions=["change"])
    def switch_on(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        verb = people.set_active
        self.do(
            request, queryset, lambda user: verb(user=user, active=True, by=actor(request)), "switched on"
        )


@admin.register(Group)
class GroupAdmin(RoomAdmin):
    """A team or an approver group. It carries no permissions: roles do."""

    fields = ["name", "people"]
    list_display = ["name", "size", "people"]
    search_fields = ["name"]
    ordering = ["name"]

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).annotate(size=Count("user")).prefetch_related("user_set")

    def get_readonly_fields(self, request: HttpRequest, obj: Group | None = None) -> list[str]:
        # Rules and stored verdicts name groups, so a group keeps its name.
        return ["people"] if obj is None else ["name", "people"]

    @admin.display(description="members", ordering="size")
    def size(self, group: Any) -> int:
        return int(group.size)

    @admin.display
    def people(self, group: Group) -> str:
        return ", ".join(sorted(user.username for user in group.user_set.all())) if group.pk else "—"

    def save_model(self, request: HttpRequest, obj: Group, form: ModelForm[Any], change: bool) -> None:
        if not change:
            obj.pk = people.ensure_group(name=obj.name, by=actor(request))[0].pk

    def delete_model(self, request: HttpRequest, obj: Group) -> None:
        if Rule.objects.filter(approvers=obj.name).exists() or Agent.objects.filter(team=obj).exists():
            raise Refused("conflict", f"A rule or an agent names the group {obj.name}.")
        super().delete_model(request, obj)
        record.append(
            kind="group.removed",
            actor=actor(request),
            body={"name": obj.name},
            title=f"Group {obj.name} removed",
        )


@admin.register(AgentKey)
class AgentKeyAdmin(ReadOnlyAdmin):
    list_display = [
        "prefix",
        "agent",
        "scopes",
        "created_at",
        "expires_at",
        "revoked_at",
        "last_used_at",
        "uses",
    ]
    list_filter = ["agent"]
    list_select_related = ["agent"]
    search_fields = ["prefix", "agent__name"]
    exclude = ["sha256"]
    actions = ["revoke"]

    @admin.action(description="Revoke at once", permissions=["act"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[AgentKey]) -> None:
        def end(key: AgentKey) -> None:
            agents.revoke(agent=key.agent, prefix=key.prefix, by=actor(request))

        self.do(request, queryset, end, "ended")


@admin.register(PersonalToken)
class PersonalTokenAdmin(ReadOnlyAdmin):
    list_display = ["prefix", "user", "created_at", "expires_at", "revoked_at", "last_used_at", "uses"]
    list_select_related = ["user"]
    search_fields = ["prefix", "user__username"]
    exclude = ["sha256"]
    actions = ["revoke"]

    @admin.action(description="Revoke at once", permissions=["act"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[PersonalToken]) -> None:
        self.do(request, queryset, lambda token: people.revoke_token(token=token, by=actor(request)), "ended")


@admin.register(Secret)
class SecretAdmin(RoomAdmin):
    """Values go in and never come out."""

    form = forms.SecretForm
    list_display = ["name", "created_at", "rotated_at", "last_used_at", "uses"]
    search_fields = ["name"]
    fields = ["name", "value"]

    def get_readonly_fields(self, request: HttpRequest, obj: Secret | None = None) -> list[str]:
        return ["name"] if obj is not None else []

    def save_model(self, request: HttpRequest, obj: Secret, form: ModelForm[Any], change: bool) -> None:
        obj.pk = secrets.put(name=obj.name, value=form.cleaned_data["value"], by=actor(request)).pk

    def delete_model(self, request: HttpRequest, obj: Secret) -> None:
        secrets.remove(name=obj.name, by=actor(request))
