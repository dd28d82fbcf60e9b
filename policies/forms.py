"""Forms of the admin: what a row may hold is checked by the same code that reads world files."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from django import forms
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.forms.fields import InvalidJSONInput

from policies import escalating, ruledesk, worldfile, yamldump
from policies.arguments import ArgumentsRefused, canonical, check_schema, parse_json
from policies.limit_models import Limit
from policies.models import NAME, Agent, Case, Role, Rule, Secret, Switch, Tool, User
from policies.ruledesk import NOTHING

Wide = forms.Textarea(attrs={"rows": 3, "cols": 100, "spellcheck": "false"})
Code = forms.Textarea(attrs={"rows": 14, "cols": 100, "spellcheck": "false"})
Condition = forms.Textarea(attrs={"rows": 6, "cols": 100, "spellcheck": "false"})


class Words(forms.CharField):
    """A list of words, one a line or separated by commas."""

    widget = forms.Textarea(attrs={"rows": 2, "cols": 60, "spellcheck": "false"})

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(value) if isinstance(value, list | tuple) else value

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value) or ""
        if "\x00" in text:
            raise ValidationError("Null characters are not allowed.")
        return [word.strip() for word in text.replace("\n", ",").split(",") if word.strip()]

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(self.to_python(self.prepare_value(initial)) != self.to_python(data))


class Lines(forms.CharField):
    """A text of several lines that end as in files, whatever the browser sends."""

    def to_python(self, value: Any) -> str:
        return str(super().to_python(value) or "").replace("\r\n", "\n").replace("\r", "\n")


class StrictJson(forms.JSONField):
    """JSON as calls are read: no duplicate keys, no lone surrogates, not too deep."""

    def to_python(self, value: Any) -> Any:
        if not isinstance(value, str) or value.strip() == "":
            return super().to_python(value)
        try:
            return parse_json(value.encode("utf-8", "surrogatepass"), max_depth=worldfile.MAX_DEPTH)
        except ArgumentsRefused as refused:
            raise ValidationError(refused.why) from None

    def bound_data(self, data: Any, initial: Any) -> Any:
        # What was typed comes back as it was typed; re-reading it here could fail where nothing catches it.
        return initial if self.disabled else InvalidJSONInput(data or "")

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool(canonical(self.to_python(data) or {}) != canonical(initial or {}))
        except (ValidationError, ArgumentsRefused):
            return True


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
        # A field that the page only shows is not among the cleaned values.
        named = {"name": self.instance.name, **cleaned}
        for field, why in read_as_file(self.kind, self.as_file(named)):
            known = field if field in self.fields else ("config" if field in worldfile.CONFIG else None)
            known = known if known in self.fields else None
            self.add_error(known, why if known == field else f"{field}: {why}".lstrip(": "))
        return cleaned


class ToolForm(FileForm):
    kind = "tools"
    untrusted_fields = words("With trusted output: the fields that outsiders can write.")
    returns = choices((name, name) for name in worldfile.RETURNS)
    authority = words("The arguments that say who or what is affected.")
    labels = words()
    parameters = StrictJson(
        required=False, widget=Code, help_text="JSON Schema of the arguments; empty takes none."
    )
    config = StrictJson(required=False, widget=Code, help_text=f"How it runs: {', '.join(worldfile.CONFIG)}.")

    class Meta:
        model = Tool
        fields = "__all__"
        widgets = {"description": Wide, "summary": Wide}

    def as_file(self, cleaned: dict[str, Any]) -> dict[str, Any]:
        plain = {name: value for name, value in cleaned.items() if name != "config"}
        return plain | dict(cleaned["config"])

    def clean_config(self) -> dict[str, Any]:
        config = {} if self.cleaned_data["config"] is None else self.cleaned_data["config"]
        if not isinstance(config, dict) or not set(config) <= set(worldfile.CONFIG):
            raise ValidationError(f"An object with some of {', '.join(worldfile.CONFIG)}.")
        return config

    def clean_parameters(self) -> dict[str, Any]:
        parameters = {} if self.cleaned_data["parameters"] is None else self.cleaned_data["parameters"]
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


class RuleForm(FileForm):
    kind = "rules"
    agents = words("Names or patterns with * and ?; none means any agent.")
    tools = words("Names or patterns with * and ?; none means any tool.")
    approvers = forms.ChoiceField(choices=approver_choices, required=False)
    when = Lines(
        required=False, label="Condition", widget=Condition,
        help_text="A condition in CEL; empty means always. The words it may use stand below.",
    )  # fmt: skip
    expires_after = forms.CharField(
        help_text="How long approval is waited for: 45s, 15m, 2h, 1d.", initial="15m"
    )

    escalate = Lines(
        required=False, label="Escalates", widget=forms.Textarea(attrs={"rows": 2, "cols": 40}),
        help_text="One step a line, such as “10m leads”: after that time without a decision leads may answer "
        "for the asked group too.",
    )  # fmt: skip

    egress = Lines(
        required=False, widget=Wide,
        help_text=f"Where it applies, the run reaches only these, one a line, and of them only what its tool "
        f"lists. Empty: all that the tool lists; “{NOTHING}”: no network at all.",
    )  # fmt: skip

    class Meta:
        model = Rule
        fields = "__all__"
        widgets = {"description": Wide}
        help_texts = {
            "description": "Why it is there; whoever is asked reads this first.",
            "quorum": "How many of them have to approve.",
            "step_up": "Whoever approves signs it with their passkey.",
            "separate_duties": "Neither the agent's owner nor whoever started its session approves alone.",
            "mode": "In shadow it decides nothing and only counts.",
            "until": "Then it ends by itself. Empty: it stays.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "until" in self.fields:
            parts = getattr(self.fields["until"].widget, "widgets", ())
            for part, name in zip(parts, ("date", "time"), strict=False):
                part.attrs["aria-label"] = f"Until, {name}"
        if self.instance.pk and "expires_after" in self.fields:
            self.initial["expires_after"] = yamldump.duration(self.instance.expires_after)
        if self.instance.pk and "egress" in self.fields and self.instance.egress is not None:
            self.initial["egress"] = "\n".join(self.instance.egress) or NOTHING
        if self.instance.pk and "escalate" in self.fields:
            steps = escalating.steps(self.instance.escalate)
            self.initial["escalate"] = "\n".join(
                f"{yamldump.duration(step.after)} {step.to}" for step in steps
            )

    def clean_escalate(self) -> list[dict[str, Any]]:
        try:
            found = [
                (worldfile.seconds(after), to)
                for after, to in escalating.lines(self.cleaned_data["escalate"])
            ]
        except ValueError as error:
            raise ValidationError(str(error)) from None
        known = set(Group.objects.filter(name__in=[to for _, to in found]).values_list("name", flat=True))
        if strange := [to for _, to in found if to not in known]:
            raise ValidationError(f"There is no group {strange[0]}.")
        return escalating.plain(escalating.steps({"after": after, "to": to} for after, to in found))

    def clean_egress(self) -> list[str] | None:
        return ruledesk.egress_of(self.cleaned_data["egress"])

    def clean_expires_after(self) -> int:
        try:
            return worldfile.seconds(self.cleaned_data["expires_after"])
        except ValueError as error:
            raise ValidationError(str(error)) from None

    def as_file(self, cleaned: dict[str, Any]) -> dict[str, Any]:
        given = {name: value for name, value in cleaned.items() if value not in ("", None)}
        moment = {"until": cleaned["until"].isoformat()} if cleaned.get("until") else {}
        steps = [{"after": f"{step['after']}s", "to": step["to"]} for step in cleaned.get("escalate") or []]
        return given | {"expires_after": f"{cleaned['expires_after']}s", "escalate": steps} | moment


class CaseForm(FileForm):
    kind = "cases"
    labels = words("The labels of the session.")
    args = StrictJson(required=False, widget=Code)
    origin = StrictJson(required=False, widget=Wide, help_text='Where arguments came from: {"to": "user"}.')

    session = StrictJson(
        required=False,
        widget=Wide,
        help_text='What came before: {"read": ["payroll"]}.',
    )

    class Meta:
        model = Case
        fields = "__all__"

    def clean_args(self) -> Any:
        return {} if self.cleaned_data["args"] is None else self.cleaned_data["args"]

    def clean_origin(self) -> Any:
        return {} if self.cleaned_data["origin"] is None else self.cleaned_data["origin"]

    def clean_session(self) -> Any:
        return {} if self.cleaned_data["session"] is None else self.cleaned_data["session"]

    def as_file(self, cleaned: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in cleaned.items() if value not in ("", None)}


class AgentForm(FileForm):
    kind = "agents"
    labels = words()

    class Meta:
        model = Agent
        fields = ["name", "description", "owner", "team", "mode", "labels", *worldfile.LIMITS]

    def as_file(self, cleaned: dict[str, Any]) -> dict[str, Any]:
        owner, team = cleaned.get("owner"), cleaned.get("team")
        named = {"owner": owner and owner.username, "team": team and team.name}
        limits = {name: cleaned[name] for name in worldfile.LIMITS}
        given = {name: value for name, value in (cleaned | named).items() if value not in ("", None)}
        return {name: value for name, value in given.items() if name not in limits} | {"limits": limits}


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
    seen = forms.CharField(required=False, max_length=64, widget=forms.HiddenInput)
    note = forms.CharField(required=False, max_length=500, help_text="Why, for those who read the log.")


class UserForm(forms.ModelForm):
    roles = choices(Role.choices)

    class Meta:
        model = User
        fields = ["username", "email", "first_name", "last_name", "is_active", "roles", "groups"]
        widgets = {"groups": forms.CheckboxSelectMultiple}
        help_texts = {
            "username": NAME.message,
            "is_active": "Switched off, sessions, tokens and votes count no more.",
            "groups": "Teams and approver groups.",
        }

    def clean_username(self) -> str:
        name = str(self.cleaned_data["username"])
        NAME(name)
        return name


class SecretForm(forms.ModelForm):
    value = forms.CharField(
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        strip=False,
        help_text="Nobody can read it back.",
    )

    class Meta:
        model = Secret
        fields = ["name"]


class LimitForm(FileForm):
    kind = "limits"

    class Meta:
        model = Limit
        fields = "__all__"

    def as_file(self, cleaned: dict[str, Any]) -> dict[str, Any]:
        given = {name: value for name, value in cleaned.items() if value not in ("", None)}
        total = given.get("sum_per_day")
        return given if total is None else given | {"sum_per_day": f"{total.normalize():f}"}


class SwitchForm(forms.ModelForm):
    class Meta:
        model = Switch
        fields = ["scope", "reason"]
