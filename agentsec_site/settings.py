"""Settings of agentsec: one file, fed by the environment.

The commands of `manage.py` put what they know into the environment before Django loads (`--home`, the
addresses of the embedded services, generated passwords); an operator sets DATABASE_URL and REDIS_URL.
A secret that is missing or unreadable ends the start with one line instead of a weak default.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from approvals.sandbox import SandboxUnavailable, packages
from approvals.sandbox.bwrap import account
from policies.addresses import read_list

BASE_DIR = Path(__file__).resolve().parent.parent
HOME = Path(os.environ.get("AGENTSEC_HOME") or BASE_DIR / "var").resolve()
KEYS = Path(os.environ.get("AGENTSEC_KEYS") or HOME / "keys")
DEBUG = False
TESTING = os.environ.get("AGENTSEC_TESTING") == "1"


def secret_file(name: str) -> str:
    """The content of a key file; a start without it is refused, except for commands that make it."""
    path = KEYS / name
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        if os.environ.get("AGENTSEC_DATABASE_URL"):
            raise ImproperlyConfigured(
                f"{path} is missing: start with `manage.py up`, which makes it"
            ) from None
        return ""
    except OSError as error:
        raise ImproperlyConfigured(f"{path} cannot be read: {error.strerror}") from None


def number(name: str, default: int, *, least: int = 1, most: int = 100_000) -> int:
    """A whole number as the operator says, else `default`; anything else is refused at the start."""
    given = os.environ.get(name) or str(default)
    if not (given.isascii() and given.isdecimal() and least <= int(given[:9]) <= most):
        raise ImproperlyConfigured(f"{name} is a whole number from {least} to {most}, not {given!r}")
    return int(given[:9])


def choice(name: str, values: tuple[str, ...]) -> str:
    """One of `values` as the operator says, else the first; anything else is refused at the start."""
    given = os.environ.get(name) or values[0]
    if given not in values:
        raise ImproperlyConfigured(f"{name} is {' or '.join(values)}, not {given[:40]!r}")
    return given


def sandbox_packages() -> str:
    """The folder of packages that scripts may import, as the operator names it; any but a plain folder
    apart from the site's own is refused at the start.
    """
    try:
        given = os.environ.get(packages.VARIABLE, "")
        return packages.find(given, account=account(), apart_from=(HOME, KEYS))
    except SandboxUnavailable as error:
        raise ImproperlyConfigured(str(error)) from None


def fetch_allow() -> list[str]:
    """Hosts and networks as the operator lists them; one that cannot be read is refused at the start."""
    entries = [e.strip() for e in os.environ.get("AGENTSEC_FETCH_ALLOW", "").split(",") if e.strip()]
    try:
        read_list(entries)
    except ValueError as error:
        raise ImproperlyConfigured(f"AGENTSEC_FETCH_ALLOW: {error}") from None
    return entries


def site_url() -> str:
    """Where people reach the site: as the operator says, else where the instance of this home last ran."""
    try:
        return os.environ.get("AGENTSEC_URL") or (HOME / "url").read_text().strip()
    except OSError:
        return "http://localhost:8000"


def connecting() -> dict[str, Any]:
    """How connections live. The web process runs each request in a thread of its own, where one that outlives
    its request would never be used again: it borrows from a pool. Other processes keep theirs.
    """
    if os.environ.get("AGENTSEC_POOL") == "1":
        return {"CONN_MAX_AGE": 0, "OPTIONS": {"pool": {"min_size": 1, "max_size": 20, "timeout": 10}}}
    return {"CONN_MAX_AGE": 60, "OPTIONS": {}}


def database(url: str) -> dict[str, object]:
    """Django's form of a postgres:// URL; a socket folder is passed as `?host=/folder`."""
    parts, life = urlsplit(url), connecting()
    query = dict(parse_qsl(parts.query))
    name = os.environ.get("AGENTSEC_PROCESS", "agentsec")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": query.pop("host", "") or parts.hostname or "",
        "PORT": str(parts.port or query.pop("port", "") or ""),
        "CONN_HEALTH_CHECKS": True,
        **life,
        "OPTIONS": {"application_name": name, **life["OPTIONS"], **query},
    }


# The app role's address as `provision` resolved it; commands that start the services set it themselves.
AGENTSEC_DATABASE_URL = os.environ.get("AGENTSEC_DATABASE_URL", "postgres:///agentsec")
REDIS_URL = os.environ.get("AGENTSEC_REDIS_URL") or os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
AGENTSEC_DB_ROLES = {"owner": "agentsec_owner", "app": "agentsec_app", "sequencer": "agentsec_sequencer"}
DATABASES = {"default": database(AGENTSEC_DATABASE_URL)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

SECRET_KEY = secret_file("django.key") or "only-for-commands-that-serve-nothing"
AGENTSEC_KEK = KEYS / "kek.key"
AGENTSEC_LOG_KEY = KEYS / "log.key"
AGENTSEC_LOG_PUBLIC_KEY = KEYS / "log.pub"
AGENTSEC_LOG_ORIGIN = os.environ.get("AGENTSEC_LOG_ORIGIN", "agentsec.local/log")
AGENTSEC_URL = site_url()
# How tokens are signed (EdDSA, or ES256 for verifiers that know no other), and when their key is rotated.
AGENTSEC_TOKEN_ALG = choice("AGENTSEC_TOKEN_ALG", ("EdDSA", "ES256"))
AGENTSEC_TOKEN_KEY_DAYS = number("AGENTSEC_TOKEN_KEY_DAYS", 90, most=3650)
AGENTSEC_FOUR_EYES = os.environ.get("AGENTSEC_FOUR_EYES") == "1"
# Who can decide, or change what may be done, needs a second factor before anything else works.
AGENTSEC_REQUIRE_MFA = os.environ.get("AGENTSEC_REQUIRE_MFA") == "1"
AGENTSEC_DEMO = os.environ.get("AGENTSEC_DEMO") == "1"
AGENTSEC_UNDO_SECONDS = 5
# How many days ahead an agent may put a call off; 0 switches that off.
AGENTSEC_LATER_DAYS = number("AGENTSEC_LATER_DAYS", 31, least=0, most=366)
# Whether people who are signed in confirm what a session asks of a user of exactly their name. Off where the
# hosts' users are not the people of this site.
AGENTSEC_WORD_BY_ACCOUNT = os.environ.get("AGENTSEC_WORD_BY_ACCOUNT", "1") == "1"
# The longest that a reviewer may allow equal calls for a while; 0 switches it off.
AGENTSEC_ALLOWANCE_MINUTES = number("AGENTSEC_ALLOWANCE_MINUTES", 60, least=0, most=1440)
# How long a claim outlives its open card, and how much longer people may decide once the agent was asked.
AGENTSEC_CLAIM_MINUTES = number("AGENTSEC_CLAIM_MINUTES", 10)
AGENTSEC_QUESTION_MINUTES = number("AGENTSEC_QUESTION_MINUTES", 10, least=0, most=1440)
# When decisions made alike are many enough to suggest a rule, over how long, and when such a rule ends.
AGENTSEC_SUGGEST = {
    "approvals": number("AGENTSEC_SUGGEST_APPROVALS", 20),
    "days": number("AGENTSEC_SUGGEST_DAYS", 90),
    "ends_after": number("AGENTSEC_SUGGEST_ENDS_AFTER", 30),
}
# Domains of the organisation: the only ones that a suggested rule may name instead of single addresses.
AGENTSEC_DOMAINS = [d.strip().lower() for d in os.environ.get("AGENTSEC_DOMAINS", "").split(",") if d.strip()]
# What an agent must have shown before more room is proposed for it, and what lets less be proposed.
AGENTSEC_TRUST = {
    "days": number("AGENTSEC_TRUST_DAYS", 7),
    "actions": number("AGENTSEC_TRUST_ACTIONS", 50),
    "failed_percent": number("AGENTSEC_TRUST_FAILED_PERCENT", 10),
    "rejected": number("AGENTSEC_TRUST_REJECTED", 5),
    "pause_days": number("AGENTSEC_TRUST_PAUSE_DAYS", 30),
}
# After how many days without use something is proposed for removal, and the next access review is due.
AGENTSEC_REVIEW_DAYS = number("AGENTSEC_REVIEW_DAYS", 90)
# Whether messages that leave the house say how many actions wait, and nothing of what they are.
AGENTSEC_NOTIFY_BARE = os.environ.get("AGENTSEC_NOTIFY_BARE") == "1"
# Where the site itself may send requests beside public servers: hosts and networks, with a port if need be.
AGENTSEC_FETCH_ALLOW = fetch_allow()
# How many sandboxes a worker keeps started ahead of their jobs.
AGENTSEC_SANDBOX_POOL = number("AGENTSEC_SANDBOX_POOL", 2, least=0, most=32)
# Packages that scripts may import in the sandbox: a folder of them, or a virtual environment.
AGENTSEC_SANDBOX_PACKAGES = sandbox_packages()
# Certificates of the operator's own authorities, which servers on the way out may show beside public ones.
AGENTSEC_EGRESS_CA_FILE = os.environ.get("AGENTSEC_EGRESS_CA_FILE", "")
AGENTSEC_HEARTBEAT_SECONDS = 1.0
# After how long without a heartbeat a start is taken for dead; after two thirds of it its worker is killed.
AGENTSEC_STALE_SECONDS = 9.0

ALLOWED_HOSTS = [
    h.strip()
    for h in os.environ.get("AGENTSEC_ALLOWED_HOSTS", "127.0.0.1,localhost,[::1]").split(",")
    if h.strip()
]
CSRF_TRUSTED_ORIGINS = [o for o in os.environ.get("AGENTSEC_TRUSTED_ORIGINS", "").split(",") if o]

INSTALLED_APPS = [
    "agentsec_site.apps.AdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "channels",
    "django_htmx",
    "django_rq",
    "axes",
    "csp",
    "traces",
    "policies",
    "approvals",
    "agentsec_site",
]

MIDDLEWARE = [
    "agentsec_site.gateway.problems.ProblemMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "agentsec_site.masking.MaskingMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "axes.middleware.AxesMiddleware",
    "agentsec_site.pages.entering.SecondFactorMiddleware",
]

ROOT_URLCONF = "agentsec_site.urls"
ASGI_APPLICATION = "agentsec_site.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "agentsec_site.context.site",
            ],
        },
    }
]

# People
AUTH_USER_MODEL = "policies.User"
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "policies.access.TableBackend",
    "django.contrib.auth.backends.ModelBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "/sign-in"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/sign-in"
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = 0.25  # hours
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_LOCKOUT_TEMPLATE = "people/locked.html"
AXES_VERBOSE = False
SESSION_COOKIE_AGE = 12 * 3600
SESSION_COOKIE_NAME = "agentsec_session"
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = AGENTSEC_URL.startswith("https://")
CSRF_COOKIE_HTTPONLY = True
EMAIL_HOST = os.environ.get("EMAIL_HOST", "")
# The demonstration's own mail is put where its agents' mail arrives.
EMAIL_BACKEND = (
    "django.core.mail.backends.filebased.EmailBackend"
    if AGENTSEC_DEMO and not EMAIL_HOST
    else "django.core.mail.backends.smtp.EmailBackend"
)
EMAIL_FILE_PATH = HOME / "demo-mail"
EMAIL_PORT = int(os.environ.get("EMAIL_PORT", "25"))
EMAIL_HOST_USER = os.environ.get("EMAIL_HOST_USER", "")
EMAIL_HOST_PASSWORD = os.environ.get("EMAIL_HOST_PASSWORD", "")
EMAIL_USE_TLS = os.environ.get("EMAIL_USE_TLS") == "1"
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = os.environ.get("DEFAULT_FROM_EMAIL", "agentsec@localhost")

# The browser may load nothing but ours: no inline script or style anywhere, the stock admin included.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
        "base-uri": [NONE],
    }
}
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"

STATIC_URL = "/static/"
STATIC_ROOT = HOME / "static"
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False

# Ids only travel through Redis, as JSON, never pickle; the worker is given the same serializer.
RQ_QUEUES = {
    "actions": {"URL": REDIS_URL, "DEFAULT_TIMEOUT": 3600, "SERIALIZER": "rq.serializers.JSONSerializer"}
}
# The library's pages let anybody with `is_staff` empty queues and start jobs.
RQ_SHOW_ADMIN_LINK = False
RQ = {"JOB_CLASS": "approvals.jobs.RegisteredJob"}
CHANNEL_LAYERS: dict[
    str, object
] = {}  # fan-out is traces.live.Hub: one subscription a process, see the design

LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False
FORMAT_MODULE_PATH = "agentsec_site.formats"
DATA_UPLOAD_MAX_MEMORY_SIZE = 24 * 1024 * 1024
# An access review is one form with two fields for everything that is reviewed.
DATA_UPLOAD_MAX_NUMBER_FIELDS = 20_000
SILENCED_SYSTEM_CHECKS: list[str] = []

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": "agentsec_site.logs.MaskingFormatter",
            "format": "%(asctime)s %(levelname)s %(name)s: %(message)s",
        }
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": os.environ.get("AGENTSEC_LOG_LEVEL", "INFO")},
    "loggers": {
        "django.request": {"level": "ERROR"},
        # Anybody can send a wrong Host header; each would write a traceback.
        "django.security.DisallowedHost": {"level": "CRITICAL"},
        "mail.log": {"level": "WARNING"},
        "axes": {"level": "ERROR"},
        "fido2": {"level": "WARNING"},
        "rq.worker": {"level": "WARNING"},
    },
}
