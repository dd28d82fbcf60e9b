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
    body = operation.get("requestBody", {}).get("content", {})
    answers = {
        status: _fields(schema, _first(response)) for status, response in operation["responses"].items()
    }
    return {
        "id": operation["operationId"],
        "method": method.upper(),
        "path": path,
        "what": operation.get("description", ""),
        "callers": " or ".join(_CALLERS[name] for item in operation.get("security", []) for name in item),
        "parameters": [
            _field(schema, p["name"], p["schema"], p["required"]) for p in operation["parameters"]
        ],
        "body_type": next(iter(body), ""),
        "body": _fields(schema, _first(operation.get("requestBody", {}))),
        "answers": {status: fields for status, fields in answers.items() if int(status) < 400},
    }


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
