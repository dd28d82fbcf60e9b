"""Every address of the site."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from agentsec_site import health
from agentsec_site.gateway.rest import api
from agentsec_site.pages import people, switch

urlpatterns = [
    path("", include("approvals.urls")),
    path("healthz", health.healthz, name="healthz"),
    path("health", health.page, name="health"),
    path("sign-in", people.sign_in, name="sign-in"),
    path("sign-out", people.sign_out, name="sign-out"),
    path("welcome/<str:token>", people.welcome, name="welcome"),
    path("reset", people.reset, name="reset"),
    path("switch/banner", switch.banner, name="switch-banner"),
    path("switch/throw", switch.throw, name="switch-throw"),
    path("switch/resume", switch.resume, name="switch-resume"),
    path("account", people.account, name="account"),
    path("account/tokens", people.make_token, name="account-token"),
    path("account/tokens/<int:token_id>/revoke", people.revoke_token, name="account-token-revoke"),
    path("", include("agentsec_site.pages.trace_urls")),
    path("", include("agentsec_site.pages.policy_urls")),
    path("", include("agentsec_site.pages.growth_urls")),
    path("", include("agentsec_site.pages.change_urls")),
    path("", include("agentsec_site.pages.notification_urls")),
    path("api/v1/", api.urls),
    path("admin/", admin.site.urls),
]
