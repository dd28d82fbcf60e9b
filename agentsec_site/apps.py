"""Django's registration of the composition root and of the stock admin as this site's back office."""

from __future__ import annotations

import gc

from django.apps import AppConfig
from django.contrib.admin import apps as admin_apps

from traces import dbtime


class SiteConfig(AppConfig):
    name = "agentsec_site"
    label = "agentsec_site"
    verbose_name = "agentsec"
    default = True

    def ready(self) -> None:
        """The last of the apps: what has loaded stays, and need not be searched for garbage ever again. From
        here on time is the database's.
        """
        gc.freeze()
        gc.enable()
        dbtime.follow(dbtime.of_database)


class AdminConfig(admin_apps.SimpleAdminConfig):
    """Without loading what the admin shows: `Backoffice` does, in the processes that show it."""

    default_site = "agentsec_site.backoffice.Backoffice"
    default = False
