"""The stock Django admin, signed in through the site's own door."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.contrib.admin import AdminSite
from django.contrib.auth.views import redirect_to_login
from django.core.checks import CheckMessage
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, URLResolver
from django.utils.module_loading import autodiscover_modules


class Backoffice(AdminSite):
    site_header = "agentsec policies"
    site_title = "agentsec"
    index_title = "Policies"
    site_url = "/"
    enable_nav_sidebar = False

    def get_urls(self) -> list[URLResolver | URLPattern]:
        """The admin's addresses. Workers and their like never ask, and are spared its pages and forms."""
        autodiscover_modules("admin", register_to=self)
        return super().get_urls()

    def check(self, app_configs: Sequence[AppConfig] | None) -> list[CheckMessage]:
        """What is wrong with the admin's pages, which must be loaded to be looked at."""
        autodiscover_modules("admin", register_to=self)
        return super().check(app_configs)

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """The rooms by names that people know: Django calls the app of the groups after its own words."""
        apps = super().get_app_list(request, app_label)
        for app in apps:
            app["name"] = {"auth": "Groups of people"}.get(app["app_label"], app["name"])
        return apps

    def login(self, request: HttpRequest, extra_context: dict[str, object] | None = None) -> HttpResponse:
        """One sign-in page for all, so that lock-out and audit hold for the admin as well."""
        wanted = request.GET.get("next", "/admin/")
        if request.user.is_authenticated:
            return redirect("/")
        return redirect_to_login(wanted)
