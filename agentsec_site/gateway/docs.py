"""The API's own documentation page, drawn from its OpenAPI description: no script, nothing from elsewhere."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from ninja import NinjaAPI
from ninja.openapi.docs import DocsBase

from agentsec_site.gateway import problems


class DocsPage(DocsBase):
    """Renders templates/gateway/docs.html."""

    def render_page(self, request: HttpRequest, api: NinjaAPI, **kwargs: Any) -> HttpResponse:
        schema = api.get_openapi_schema()
        context = {
            "api": api,
            "server": settings.AGENTSEC_URL,
            "schema_url": self.get_openapi_url(api, kwargs),
            "groups": _groups(schema),
            "problems": [(code, problems.STATUS[code], title) for code, title in problems.TITLES.items()],
        }
        return render(request, "gateway/docs.html", context)


def _groups(schema: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Operations by their tag, each with what a reader needs, references resolved."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            shown = _operation(schema, path, method, operation)
            groups.setdefault(operation.get("tags", ["other"])[0], []).append(shown)
    return groups


def _operation(schema: dict[str, Any], path: str, method: str, operation: dict[str, Any]) -> dict[str, Any]:
    body = operation.get("requestBody", {})
    callers = [_CALLERS[name] for item in operation.get("security", []) for name in item]
    parameters = [_field(schema, p["name"], p["schema"], p["required"]) for p in operation["parameters"]]
    tables = [("In the address", parameters), ("Body", _fields(schema, _first(body)))]
    return {
        "id": operation["operationId"],
        "method": method.upper(),
        "path": path,
        "what": operation.get("description", ""),
        "callers": " or ".join(callers),
        "raw_body": next((media for media in body.get("content", {}) if media != "application/json"), ""),
        "tables": [table for table in [*tables, *_answers(schema, operation)] if table[1]],
        "bare": [status for status, media in _bare(schema, operation)],
        "media": ", ".join(media for _, media in _bare(schema, operation) if media),
    }


def _answers(schema: dict[str, Any], operation: dict[str, Any]) -> list[tuple[str, list[dict[str, Any]]]]:
    """The successful answers that have fields; statuses that share a shape share a table."""
    shapes: dict[str, tuple[list[str], list[dict[str, Any]]]] = {}
    for status, response in operation["responses"].items():
        if int(status) < 400 and (fields := _fields(schema, _first(response))):
            shapes.setdefault(str(_first(response)), ([], fields))[0].append(status)
    return [(f"Answer {' or '.join(statuses)}", fields) for statuses, fields in shapes.values()]


def _bare(schema: dict[str, Any], operation: dict[str, Any]) -> list[tuple[str, str]]:
    """The successful answers without fields, and their media type: bytes, or nothing."""
    answers = ((status, item) for status, item in operation["responses"].items() if int(status) < 400)
    return [
        (s, next(iter(item.get("content", {})), ""))
        for s, item in answers
        if not _fields(schema, _first(item))
    ]


_CALLERS = {
    "AgentKeyAuth": "an agent's key",
    "PersonalTokenAuth": "a personal token",
    "AnyAuth": "an agent's key or a personal token",
}


def _first(response: dict[str, Any]) -> dict[str, Any]:
    media: dict[str, Any] = next(iter(response.get("content", {}).values()), {})
    found: dict[str, Any] = media.get("schema", {})
    return found


def _resolved(schema: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in part:
        found: dict[str, Any] = schema["components"]["schemas"][part["$ref"].rpartition("/")[2]]
        return found
    return part


def _fields(schema: dict[str, Any], part: dict[str, Any]) -> list[dict[str, Any]]:
    whole = _resolved(schema, part)
    required = whole.get("required", [])
    return [
        _field(schema, name, item, name in required) for name, item in whole.get("properties", {}).items()
    ]


def _field(schema: dict[str, Any], name: str, item: dict[str, Any], required: bool) -> dict[str, Any]:
    about = item.get("description", "")
    return {"name": name, "type": _type(schema, item), "required": required, "about": about}


def _type(schema: dict[str, Any], item: dict[str, Any]) -> str:
    """A type as a reader says it: `list of string`, `uuid or null`, `"approve" | "reject"`."""
    item = _resolved(schema, item)
    if "enum" in item or "const" in item:
        return " | ".join(f"“{value}”" for value in item.get("enum", [item.get("const")]))
    if "anyOf" in item:
        return " or ".join(_type(schema, option) for option in item["anyOf"])
    if item.get("type") == "array":
        return f"list of {_type(schema, item.get('items', {}))}"
    return str(item.get("format") or item.get("type") or "any")
