"""Addresses of changes that wait for a second person."""

from __future__ import annotations

from django.urls import path

from agentsec_site.pages import changes

urlpatterns = [
    path("changes", changes.listing, name="changes"),
    path("changes/<int:change_id>/confirm", changes.confirm, name="change-confirm"),
    path("changes/<int:change_id>/refuse", changes.refuse, name="change-refuse"),
]
