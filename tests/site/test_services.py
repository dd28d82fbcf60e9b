from __future__ import annotations

import redis
from django.conf import settings
from django.db import connection


def test_the_site_signs_in_as_the_app_role(db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user, rolsuper FROM pg_roles WHERE rolname = current_user")
        assert cursor.fetchone() == ("agentsec_app", False)


def test_valkey_answers_where_the_settings_say(services: object) -> None:
    with redis.from_url(settings.REDIS_URL) as client:
        assert client.ping()
