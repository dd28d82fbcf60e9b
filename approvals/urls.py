"""Addresses of the inbox and of actions."""

from __future__ import annotations

from django.urls import include, path

from approvals import allowance_views, bulk_views, collab_views, edit_views, stop_views, views
from approvals.sql import views as sql_views

urlpatterns = [
    path("", views.inbox, name="inbox"),
    path("", include("approvals.mine_urls")),
    path("allowances/strip", allowance_views.strip, name="allowances"),
    path("allowances/<uuid:allowance_id>/revoke", allowance_views.revoke, name="allowance-revoke"),
    path("looking", collab_views.everywhere, name="looking"),
    path("actions/<uuid:action_id>/claim", collab_views.claim, name="action-claim"),
    path("actions/<uuid:action_id>/ask", collab_views.ask, name="action-ask"),
    path("actions/<uuid:action_id>/delegate", collab_views.delegate, name="action-delegate"),
    path("actions/<uuid:action_id>/talk", collab_views.talk, name="action-talk"),
    path("actions/<uuid:action_id>/look", collab_views.look, name="action-look"),
    path("bulk", bulk_views.confirm, name="bulk"),
    path("bulk/decide", bulk_views.decide, name="bulk-decide"),
    path("bulk/undo", bulk_views.undo, name="bulk-undo"),
    path("actions/<uuid:action_id>", views.page, name="action"),
    path("actions/<uuid:action_id>/card", views.card, name="action-card"),
    path("actions/<uuid:action_id>/panel", views.panel, name="action-panel"),
    path("actions/<uuid:action_id>/edit", edit_views.edit, name="action-edit"),
    path("actions/<uuid:action_id>/plan", sql_views.plan, name="action-plan"),
    path("actions/<uuid:action_id>/decide", views.decide, name="action-decide"),
    path("actions/<uuid:action_id>/sign", views.sign, name="action-sign"),
    path("actions/<uuid:action_id>/undo", views.undo, name="action-undo"),
    path("actions/<uuid:action_id>/again", views.again, name="action-again"),
    path("actions/<uuid:action_id>/stop", stop_views.stop, name="action-stop"),
    path("actions/<uuid:action_id>/progress", views.progress, name="action-progress"),
    path("actions/<uuid:action_id>/why", views.why, name="action-why"),
    path("actions/<uuid:action_id>/artifacts/<path:name>", views.artifact, name="action-artifact"),
]
