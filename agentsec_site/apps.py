"""Django's registration of the composition root and of the stock admin as this site's back office."""

from __future__ import annotations

from django.apps import AppConfig
from django.contrib.admin import apps as admin_apps


class SiteConfig(AppConfig):
    name = "agentsec_site"
    label = "agentsec_site"
    verbose_name = "agentsec"
    default = True


class AdminConfig(admin_apps.AdminConfig):
    default_site = "agentsec_site.backoffice.Backoffice"
    default = False
