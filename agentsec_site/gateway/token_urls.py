"""Public addresses for services that verify tokens."""

from __future__ import annotations

from django.urls import path, register_converter

from agentsec_site.gateway import wellknown
from policies.tokenstatus import PATH


class ListNumber:
    """A list's number in its one spelling, small enough for the database."""

    regex = "0|[1-9][0-9]{0,12}"

    def to_python(self, value: str) -> int:
        return int(value)

    def to_url(self, value: int) -> str:
        return str(value)


register_converter(ListNumber, "list_number")
_STATUS = PATH.lstrip("/")

urlpatterns = [
    path(".well-known/jwks.json", wellknown.jwks, name="jwks"),
    path(".well-known/oauth-authorization-server", wellknown.metadata, name="oauth-metadata"),
    path(_STATUS, wellknown.status_lists, name="token-status"),
    path(f"{_STATUS}/<list_number:number>", wellknown.status_list, name="token-status-list"),
]
