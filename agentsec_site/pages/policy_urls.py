"""Addresses where policies are tried out."""

from __future__ import annotations

from django.urls import path

from agentsec_site.pages import credentials, limits, policies, releases, shadow

urlpatterns = [
    path("policies/backtest", policies.newest_backtest, name="policy-backtest"),
    path("policies/backtest/start", policies.start_backtest, name="policy-backtest-start"),
    path("policies/backtest/<int:backtest_id>", policies.one_backtest, name="policy-backtest-one"),
    path("policies/backtest/<int:backtest_id>/step", policies.step_backtest, name="policy-backtest-step"),
    path("policies/credentials", credentials.overview, name="credentials"),
    path("policies/credentials/remove", credentials.remove, name="credentials-remove"),
    path("policies/credentials/key/<int:key>/rotate", credentials.rotate_key, name="credentials-key"),
    path(
        "policies/credentials/secret/<str:name>/rotate", credentials.rotate_secret, name="credentials-secret"
    ),
    path("policies/limits", limits.limits, name="policy-limits"),
    path("policies/shadow", shadow.overview, name="policy-shadow"),
    path("policies/shadow/start", shadow.start, name="policy-shadow-start"),
    path("policies/shadow/<int:shadow_id>", shadow.one, name="policy-shadow-one"),
    path("policies/shadow/<int:shadow_id>/stop", shadow.stop, name="policy-shadow-stop"),
    path("policies/shadow/<int:shadow_id>/promote", shadow.promote, name="policy-shadow-promote"),
    path("policies/shadow/<int:shadow_id>/drop", shadow.drop, name="policy-shadow-drop"),
    path("policies/simulate", policies.simulator, name="policy-simulate"),
    path("policies/releases", releases.listing, name="policy-releases"),
    path("policies/releases/compare", releases.choose, name="policy-compare"),
    path("policies/releases/<int:release_id>", releases.one, name="policy-release"),
    path("policies/releases/<int:before>..<str:after>", releases.between, name="policy-between"),
    path("policies/releases/<int:release_id>/rollback", releases.roll_back, name="policy-rollback"),
]
