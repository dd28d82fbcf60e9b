"""Addresses where policies are tried out."""

from __future__ import annotations

from django.urls import path

from agentsec_site.pages import limits, policies

urlpatterns = [
    path("policies/backtest", policies.newest_backtest, name="policy-backtest"),
    path("policies/backtest/start", policies.start_backtest, name="policy-backtest-start"),
    path("policies/backtest/<int:backtest_id>", policies.one_backtest, name="policy-backtest-one"),
    path("policies/backtest/<int:backtest_id>/step", policies.step_backtest, name="policy-backtest-step"),
    path("policies/shadow", policies.in_shadow, name="policy-shadow"),
    path("policies/limits", limits.limits, name="policy-limits"),
    path("policies/simulate", policies.simulator, name="policy-simulate"),
]
