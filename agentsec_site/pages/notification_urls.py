"""Addresses where people say how they are told outside of the pages."""

from __future__ import annotations

from django.urls import path

from agentsec_site.pages import notifications

urlpatterns = [
    path("policies/notifications", notifications.groups, name="notifications"),
    path("policies/notifications/add", notifications.add_to_group, name="notifications-add-group"),
    path("account/notifications/add", notifications.add_to_me, name="notifications-add"),
    path("notifications/<uuid:outlet_id>/save", notifications.save, name="notifications-save"),
    path("notifications/<uuid:outlet_id>/test", notifications.try_out, name="notifications-test"),
    path("notifications/<uuid:outlet_id>/secret", notifications.renew, name="notifications-secret"),
    path("notifications/<uuid:outlet_id>/confirm", notifications.confirm, name="notifications-confirm"),
    path("notifications/<uuid:outlet_id>/remove", notifications.remove, name="notifications-remove"),
]
