"""`manage.py schema`: keys, migrations and grants, as the owner role that provisioning hands over."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import connection, transaction

from traces import keys
from traces.roles import grant_statements


class Command(BaseCommand):
    help = "Make the log's keys, apply migrations and grants (the other commands start it as the owner role)."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        keys.ensure()
        # All or nothing: Django notes a migration after its transaction, so one that was killed between the
        # two would be applied again and fail for ever.
        with transaction.atomic(), connection.cursor() as cursor:
            # What is checked at the end of a transaction would keep later migrations from altering its table.
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            call_command("migrate", interactive=False, verbosity=0)
            for statement in grant_statements(settings.AGENTSEC_DB_ROLES):
                cursor.execute(statement)
