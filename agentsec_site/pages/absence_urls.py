"""Addresses of who is away."""

from __future__ import annotations

from django.urls import path

from agentsec_site.pages import absences

urlpatterns = [
    path("away", absences.away, name="away"),
    path("away/set", absences.go, name="away-set"),
    path("away/<int:user_id>/end", absences.end, name="away-end"),
]
