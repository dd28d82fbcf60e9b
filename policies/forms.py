"""Forms of the admin: what a row may hold is checked by the same code that reads world files."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from django import forms
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError

from policies import engine, worldfile, yamldump
from policies.arguments import ArgumentsRefused, check_schema
from policies.models import Agent, Case, Role, Rule, Secret, Switch, Tool, User
from policies.rules import RuleSpec, problems_of

Wide = forms.Textarea(attrs={"rows": 3, "cols": 100, "spellcheck": "false"})
Code = forms.Textarea(attrs={"rows": 14, "cols": 100, "spellcheck": "false"})


class Words(forms.CharField):
    """A list of words, one a line or separated by commas."""

    widget = forms.Textarea(attrs={"rows": 2, "cols": 60, "spellcheck": "false"})

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(value) if isinstance(value, list | tuple) else value

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value) or ""
        return [word.strip() for word in text.replace("\n", ",").split(",") if word.strip()]

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(self.to_python(self.prepare_value(initial)) != self.to_python(data))


def words(help_text: str = "") -> Words:
    return Words(required=False, help_text=help_text)


def choices(of: Iterable[tuple[str, str]]) -> forms.TypedMultipleChoiceField:
    return forms.TypedMultipleChoiceField(
        choices=of, required=False, coerce=str, widget=forms.CheckboxSelectMultiple
    )


def read_as_file(kind: str, fields: dict[str, Any]) -> list[tuple[str, str]]:
    """(field, why) of everything that a world file with these JSON values would be refused for."""
    text = json.dumps({kind: [fields]}, ensure_ascii=False, default=str)
    faults = worldfile.read(text).faults
    return [(fault.field.partition(".")[2].split(".")[0].split("[")[0], fault.why) for fault in faults]


class FileForm(forms.ModelForm):
    """A form whose values must be such that a world file may hold them."""

    kind = ""

    def as_file(self, cleaned: dict[str, Any]) -> dict[str, Any]:
        """The cleaned values as the world file writes them."""
        return cleaned

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if self.errors:
            return cleaned
        for field, why in read_as_file(self.kind, self.as_file(cleaned)):
            known = field if field in self.fields else ("config" if field in worldfile.CONFIG else None)
            self.add_error(known, why if known == field else f"{field}: {why}".lstrip(": "))
        return cleaned


class ToolForm(FileForm):
    kind = "tools"
    untrusted_fields = words("With trusted output: the fields that outsiders can write.")
    returns = choices((name, name) for name in worldfile.RETURNS)
    authority = words("The arguments that say who or what is affected.")
    labels = words()

    class Meta:
        model = Tool
        fields = "__all__"
        widgets = {"description": Wide, "parameters": Code, "config": Code, "summary": Wide}

    def as_file(self, cleaned: dict[str, Any]) -> dict[str, Any]:
        plain = {name: value for name, value in cleaned.items() if name != "config"}
        return plain | {"parameters": cleaned["parameters"] or {}} | dict(cleaned["config"] or {})

    def clean_config(self) -> dict[str, Any]:
        config = self.cleaned_data["config"] or {}
        if not isinstance(config, dict) or not set(config) <= set(worldfile.CONFIG):
            raise ValidationError(f"An object with some of {', '.join(worldfile.CONFIG)}.")
        return config

    def clean_parameters(self) -> dict[str, Any]:
        parameters = self.cleaned_data["parameters"] or {}
        try:
            check_schema(parameters)
        except ArgumentsRefused as refused:
            raise ValidationError(f"{refused.path or 'the schema'}: {refused.why}") from None
        return parameters


def approver_choices() -> list[tuple[str, str]]:
    groups = Group.objects.order_by("name").values_list("name", flat=True)
    return [
        ("", "—"),
        ("@user", "@user, the person whom the session serves"),
        *((name, name) for name in groups),
    ]


class RuleForm(forms.ModelForm):
    agents = words("Names or patterns with * and ?; none means any agent.")
    tools = words("Names or patterns with * and ?; none means any tool.")
    approvers = forms.ChoiceField(choices=approver_choices, required=False)
    expires_after = forms.CharField(
        help_text="How long approval is waited for: 45s, 15m, 2h, 1d.", initial="15m"
    )

    class Meta:
        model = Rule
        fields = "__all__"
        widgets = {"description": Wide, "when": Code}
        help_texts = {"when": "A condition in CEL; empty means always. The words it may use stand below."}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk and "expires_after" in self.fields:
            self.initial["expires_after"] = yamldump.duration(self.instance.expires_after)

    def clean_expires_after(self) -> int:
        try:
            return worldfile.seconds(self.cleaned_data["expires_after"])
        except ValueError as error:
            raise ValidationError(str(error)) from None

    def clean_when(self) -> str:
        text = str(self.cleaned_data["when"])
        problems = engine.check_condition(text)
        if problems:
            raise ValidationError([str(problem) for problem in problems])
        return text

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if not self.errors:
            fields = {key: value for key, value in cleaned.items() if key in RuleSpec.__dataclass_fields__}
            lists = {key: tuple(cleaned[key]) for key in ("agents", "tools")}
            for why in problems_of(RuleSpec(id=cleaned["name"], **(fields | lists))):
                self.add_error(None, why)
        return cleaned


class CaseForm(FileForm):
    kind = "cases"
    labels = words("The labels of the session.")

    class Meta:
        model = Case
        fields = "__all__"
        widgets = {"args": Code, "origin": Wide}

    def as_file(self, cleaned: dict[str, Any]) -> dict[str, Any]:
        given = {name: value for name, value in cleaned.items() if value not in ("", None)}
        return given | {"args": cleaned["args"] or {}, "origin": cleaned["origin"] or {}}


class AgentForm(forms.ModelForm):
    labels = words()

    class Meta:
        model = Agent
        fields = ["name", "description", "owner", "team", "mode", "labels", *worldfile.LIMITS]


class KeyForm(forms.Form):
    """What a new key may do, and for how long."""

    scopes = forms.MultipleChoiceField(
        choices=[
            ("act", "act: propose actions"),
            ("attest", "attest: say what the user said; for the host application only, never for the model"),
        ],
        initial=["act"],
        widget=forms.CheckboxSelectMultiple,
    )
    days = forms.IntegerField(
        required=False, min_value=1, max_value=36_500, help_text="Empty: until it is revoked."
    )


class PublishForm(forms.Form):
    note = forms.CharField(required=False, max_length=500, help_text="Why, for those who read the log.")


class UserForm(forms.ModelForm):
    roles = choices(Role.choices)

    class Meta:
        model = User
        fields = ["username", "email", "first_name", "last_name", "is_active", "roles", "groups"]
        widgets = {"groups": forms.CheckboxSelectMultiple}


class SecretForm(forms.ModelForm):
    value = forms.CharField(
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        strip=False,
        help_text="Nobody can read it back.",
    )

    class Meta:
        model = Secret
        fields = ["name"]


class SwitchForm(forms.ModelForm):
    class Meta:
        model = Switch
        fields = ["scope", "reason"]
