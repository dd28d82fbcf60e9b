"""Every address of the site."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from agentsec_site import health
from agentsec_site.gateway.rest import api
from agentsec_site.pages import factors, insights, people, second, switch

urlpatterns = [
    path("", include("approvals.urls")),
    path("healthz", health.healthz, name="healthz"),
    path("health", health.page, name="health"),
    path("insights", insights.page, name="insights"),
    path("sign-in", people.sign_in, name="sign-in"),
    path("sign-out", people.sign_out, name="sign-out"),
    path("sign-in/passkey/options", second.options, name="sign-in-options"),
    path("sign-in/passkey", second.passkey, name="sign-in-passkey"),
    path("sign-in/second", second.second, name="second-factor"),
    path("welcome/<str:token>", people.welcome, name="welcome"),
    path("reset", people.reset, name="reset"),
    path("switch/banner", switch.banner, name="switch-banner"),
    path("switch/throw", switch.throw, name="switch-throw"),
    path("switch/resume", switch.resume, name="switch-resume"),
    path("account", people.account, name="account"),
    path("account/factors", factors.page, name="factors"),
    path("account/passkeys/options", factors.options, name="passkey-options"),
    path("account/passkeys", factors.add, name="passkey-add"),
    path("account/passkeys/<int:passkey_id>/rename", factors.rename, name="passkey-rename"),
    path("account/passkeys/<int:passkey_id>/remove", factors.remove, name="passkey-remove"),
    path("account/app", factors.app, name="app-add"),
    path("account/app/remove", factors.remove_app, name="app-remove"),
    path("account/codes", factors.codes, name="codes-make"),
    path("account/keys", people.set_keys, name="account-keys"),
    path("account/tokens", people.make_token, name="account-token"),
    path("account/tokens/<int:token_id>/revoke", people.revoke_token, name="account-token-revoke"),
    path("", include("agentsec_site.pages.trace_urls")),
    path("", include("agentsec_site.pages.policy_urls")),
    path("", include("agentsec_site.pages.growth_urls")),
    path("", include("agentsec_site.pages.change_urls")),
    path("", include("agentsec_site.pages.absence_urls")),
    path("", include("agentsec_site.pages.notification_urls")),
    path("", include("agentsec_site.gateway.token_urls")),
    path("api/v1/", api.urls),
    path("admin/", admin.site.urls),
]
