"""The stock Django admin, signed in through the site's own door."""

from __future__ import annotations

from django.contrib.admin import AdminSite
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect


class Backoffice(AdminSite):
    site_header = "agentsec policies"
    site_title = "agentsec"
    index_title = "Rules, tools, agents, people"
    site_url = "/"
    enable_nav_sidebar = True

    def login(self, request: HttpRequest, extra_context: dict[str, object] | None = None) -> HttpResponse:
        """One sign-in page for all, so that lock-out and audit hold for the admin as well."""
        wanted = request.GET.get("next", "/admin/")
        if request.user.is_authenticated:
            return redirect("/")
        return redirect_to_login(wanted)

    def logout(self, request: HttpRequest, extra_context: dict[str, object] | None = None) -> HttpResponse:
        return redirect("/account")
