"""Addresses of the page of the person whom a session serves."""

from __future__ import annotations

from django.urls import path

from approvals import mine_views

urlpatterns = [
    path("mine", mine_views.page, name="mine"),
    path("mine/asks", mine_views.asks, name="mine-asks"),
    path("mine/leave", mine_views.leave, name="mine-leave"),
    path("mine/actions/<uuid:action_id>/decide", mine_views.decide, name="mine-decide"),
    path("mine/actions/<uuid:action_id>/undo", mine_views.undo, name="mine-undo"),
    path("mine/<str:token>", mine_views.door, name="mine-door"),
]
