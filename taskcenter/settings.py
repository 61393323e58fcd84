"""All settings, from environment variables only; `taskcenter/env.py` reads and checks them."""

import base64
import hashlib
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import dj_database_url
from django.utils.translation import gettext_lazy as _

from taskcenter import env, logs

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = env.folder("TASKCENTER_DATA_DIR", BASE_DIR / ".data")

# --- safety -------------------------------------------------------------------------------------
DEBUG = env.flag("DEBUG", False)
_DEV_KEY = "insecure-key-for-developers-only-never-in-production-0123456789"
SECRET_KEY = env.secret("SECRET_KEY", _DEV_KEY)
if not DEBUG and (SECRET_KEY == _DEV_KEY or len(SECRET_KEY) < 32):
    raise env.WrongValue(
        "SECRET_KEY",
        "the developers' key" if SECRET_KEY == _DEV_KEY else "a short key",
        "a secret of at least 32 characters (or DEBUG=true on a developer's machine)",
    )
SECRET_KEY_FALLBACKS = env.secrets("SECRET_KEY_FALLBACKS")
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", ["127.0.0.1", "localhost", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.words("CSRF_TRUSTED_ORIGINS")

_HTTPS = env.flag("TASKCENTER_HTTPS", not DEBUG)
_PROXIES = env.integer("TASKCENTER_TRUSTED_PROXIES", 0, minimum=0, maximum=10)
SECURE_SSL_REDIRECT = _HTTPS
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
SECURE_HSTS_SECONDS = 31_536_000 if _HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = _HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if _PROXIES else None
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = _HTTPS
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = LANGUAGE_COOKIE_HTTPONLY = True
SESSION_COOKIE_AGE = 12 * 3600
X_FRAME_OPTIONS = "DENY"

# --- applications -------------------------------------------------------------------------------
INSTALLED_APPS = [
    "queues_admin.apps.SiteConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_prometheus",
    "rest_framework",
    "drf_spectacular",
    "django_otp",
    "django_otp.plugins.otp_totp",
    "django_otp.plugins.otp_static",
    "jobs",  # before axes and django_rq, so that our commands of the same name win
    "queues_admin",
    "axes",
    "django_rq",
]
MIDDLEWARE = [
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "taskcenter.requests.RequestContextMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "taskcenter.csp.ContentSecurityPolicyMiddleware",
    "taskcenter.pages.Sessions",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "taskcenter.pages.Logins",
    "django_otp.middleware.OTPMiddleware",
    "taskcenter.pages.Messages",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]
ROOT_URLCONF = "taskcenter.urls"
WSGI_APPLICATION = "taskcenter.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.i18n",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
# Wrong passwords of one user from one address; the next right one after the pause counts from zero again.
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_FAILURE_LIMIT = env.integer("TASKCENTER_LOGIN_TRIES", 5, minimum=1, maximum=1000)
AXES_COOLOFF_TIME = timedelta(
    seconds=env.integer("TASKCENTER_LOGIN_PAUSE_S", 900, minimum=1, maximum=86_400)
)
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_CLIENT_IP_CALLABLE = "queues_admin.admin.base.address"
AXES_LOCKOUT_CALLABLE = "queues_admin.admin.lockout.locked_out"
AXES_DISABLE_ACCESS_LOG = True
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False
OTP_TOTP_ISSUER = "Task Center"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATA_UPLOAD_MAX_MEMORY_SIZE = (
    80 * 1024 * 1024
)  # a batch of 1,000 payloads of 64 KiB; views set less

# --- PostgreSQL ---------------------------------------------------------------------------------
DATABASE_URL = env.url(
    "DATABASE_URL",
    "postgresql://taskcenter@127.0.0.1:5432/taskcenter",
    ("postgres", "postgresql"),
)
_ROLE = sys.argv[1] if len(sys.argv) > 1 and sys.argv[0].endswith("manage.py") else "web"
_STATEMENT_S = env.number("TASKCENTER_DB_STATEMENT_TIMEOUT_S", 10.0, minimum=0.1, maximum=3600)
_LOCK_S = env.number("TASKCENTER_DB_LOCK_TIMEOUT_S", 2.0, minimum=0.1, maximum=3600)
_IDLE_S = env.number("TASKCENTER_DB_IDLE_TRANSACTION_TIMEOUT_S", 30.0, minimum=1, maximum=3600)
DATABASES: dict[str, Any] = {
    "default": dj_database_url.parse(DATABASE_URL, conn_max_age=60, conn_health_checks=True)
}
DATABASES["default"]["OPTIONS"] = {
    "application_name": f"taskcenter-{_ROLE}"[:63],
    "connect_timeout": 5,
    # the engine's statements are few and run often; None behind a PgBouncer older than 1.21
    "prepare_threshold": 3 if env.flag("TASKCENTER_DB_PREPARE", True) else None,
    "options": f"-c statement_timeout={_STATEMENT_S * 1000:.0f}"
    f" -c lock_timeout={_LOCK_S * 1000:.0f}"
    f" -c idle_in_transaction_session_timeout={_IDLE_S * 1000:.0f}",
    **DATABASES["default"].get("OPTIONS", {}),
}

# --- Redis and RQ -------------------------------------------------------------------------------
REDIS_URL, ASYNQ_REDIS_DB = env.redis_url("REDIS_URL", "ASYNQ_REDIS_DB")
QUEUE_NAMES = ("critical", "high", "default", "scheduled", "low", "dead_letter")
RQ_QUEUES = {
    name: {"URL": REDIS_URL, "SERIALIZER": "rq.serializers.JSONSerializer"} for name in QUEUE_NAMES
}
RQ_SHOW_ADMIN_LINK = False

# --- the variables of the operators' guide, section 6.1 -----------------------------------------
ASYNQ_POLLING_ENABLED = env.flag("ASYNQ_POLLING_ENABLED", True)
ASYNQ_CONCURRENCY = env.integer("ASYNQ_CONCURRENCY", 10, minimum=1, maximum=10_000)
ASYNQ_MIGRATE_EXISTING = env.flag("ASYNQ_MIGRATE_EXISTING", False)
ASYNQ_MIGRATE_SOURCE = env.url(
    "ASYNQ_MIGRATE_SOURCE", "", ("postgres", "postgresql", "mysql", "sqlite")
)
ASYNQ_MIGRATE_MAPPING = env.text("ASYNQ_MIGRATE_MAPPING", "newapi")
ASYNQ_MIGRATE_TABLE = env.text("ASYNQ_MIGRATE_TABLE", "tasks")
ASYNQ_READONLY = env.flag("ASYNQ_READONLY", False)
PROMETHEUS_ADDRESS = env.url("PROMETHEUS_ADDRESS", "", ("http", "https"))
UPDATE_TASK = env.flag("UPDATE_TASK", True)
TASK_POLL_INTERVAL = env.number("TASK_POLL_INTERVAL", 15.0, minimum=0.1, maximum=86_400)

# --- Task Center --------------------------------------------------------------------------------


def _derived(key: str) -> str:
    """A Fernet key for those who set none of their own."""
    return base64.urlsafe_b64encode(
        hashlib.sha256(f"taskcenter.secrets:{key}".encode()).digest()
    ).decode()


TASKCENTER: dict[str, Any] = {
    "DIAGNOSTICS": env.flag("TASKCENTER_DIAGNOSTICS", False),
    "ALLOW_PRIVATE": env.flag("TASKCENTER_ALLOW_PRIVATE", False),
    "STOP_GRACE_S": env.number("TASKCENTER_STOP_GRACE_S", 30.0, minimum=0, maximum=86_400),
    "MAX_PAYLOAD_BYTES": env.integer(
        "TASKCENTER_MAX_PAYLOAD_BYTES", 65_536, minimum=1024, maximum=16 * 1024 * 1024
    ),
    "MAX_PAYLOAD_DEPTH": env.integer("TASKCENTER_MAX_PAYLOAD_DEPTH", 32, minimum=2, maximum=200),
    "RATE_PER_KEY": env.integer("TASKCENTER_RATE_PER_KEY", 5000, minimum=0, maximum=10**6),
    "WEB_WORKERS": env.integer("WEB_WORKERS", 1, minimum=1, maximum=64),
    "WEB_THREADS": env.integer("WEB_THREADS", 8, minimum=2, maximum=256),
    "PLAN_UNDO_S": env.number("TASKCENTER_PLAN_UNDO_S", 30.0, minimum=0, maximum=3600),
    "PLAN_TYPED_TASKS": env.integer("TASKCENTER_PLAN_TYPED_TASKS", 1000, minimum=0, maximum=10**9),
    "PLAN_TYPED_CREDITS": env.integer(
        "TASKCENTER_PLAN_TYPED_CREDITS", 10_000_000, minimum=0, maximum=2**53
    ),
    "FOUR_EYES_CREDITS": env.integer(
        "TASKCENTER_FOUR_EYES_CREDITS", 10_000_000, minimum=0, maximum=2**53
    ),
    "TENANT_WALL": env.flag("TASKCENTER_TENANT_WALL", True),
    "RETENTION_S": env.integer("TASKCENTER_RETENTION_S", 604_800, minimum=0, maximum=10**9),
    "DEAD_RETENTION_S": env.integer(
        "TASKCENTER_DEAD_RETENTION_S", 7_776_000, minimum=60, maximum=10**9
    ),
    "RUN_TIMEOUT_S": env.number("TASKCENTER_RUN_TIMEOUT_S", 1800.0, minimum=0.1, maximum=10**7),
    "STORAGE_DIR": env.folder("TASKCENTER_STORAGE_DIR", DATA_DIR / "storage"),
    "SECRET_KEYS": env.fernet_keys(
        "TASKCENTER_SECRET_KEYS", [_derived(key) for key in (SECRET_KEY, *SECRET_KEY_FALLBACKS)]
    ),
    "ENCRYPT_PAYLOADS": env.flag("TASKCENTER_ENCRYPT_PAYLOADS", False),
    "MIDDLEWARE": env.words("TASKCENTER_MIDDLEWARE"),
    "HANDLERS": env.words("TASKCENTER_HANDLERS"),
    "PUBLIC_URL": env.url("TASKCENTER_PUBLIC_URL", "", ("http", "https")),
    "BILLING_URL": env.url("TASKCENTER_BILLING_URL", "", ("http", "https")),
    "BILLING_SECRET": env.text("TASKCENTER_BILLING_SECRET"),
    "SYNC_SOURCES": env.text("TASKCENTER_SYNC_SOURCES"),
    "CALLBACK_SECRETS": env.named_secrets("TASKCENTER_CALLBACK_SECRETS"),
    "DEMO": env.flag("TASKCENTER_DEMO", False),
    "SECOND_FACTOR": env.flag("TASKCENTER_SECOND_FACTOR", False),
    "WORKER_THREADS": env.integer("TASKCENTER_WORKER_THREADS", 0, minimum=0, maximum=1000),
    "WORKER_PROCESSES": env.integer("TASKCENTER_WORKER_PROCESSES", 2, minimum=0, maximum=256),
    "POLL_SLOTS": env.integer("TASKCENTER_POLL_SLOTS", 400, minimum=1, maximum=10_000),
    "METRICS_TOKEN": env.secret("TASKCENTER_METRICS_TOKEN"),
    "METRICS_NETWORKS": env.words("TASKCENTER_METRICS_NETWORKS"),
    "TRUSTED_PROXIES": _PROXIES,
}

if TASKCENTER["BILLING_SECRET"] not in {"", *TASKCENTER["CALLBACK_SECRETS"]} - {"default"}:
    raise env.WrongValue(
        "TASKCENTER_BILLING_SECRET",
        repr(TASKCENTER["BILLING_SECRET"]),
        "a name in TASKCENTER_CALLBACK_SECRETS other than default, with which callers' callbacks are signed",
    )

# --- languages, time, files ---------------------------------------------------------------------
LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("zh-hans", _("Simplified Chinese"))]
LOCALE_PATHS = [BASE_DIR / "locale"]
USE_I18N = USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "static/"
STATIC_ROOT = env.folder("TASKCENTER_STATIC_ROOT", DATA_DIR / "static")
_HASHED_FILES = (STATIC_ROOT / "staticfiles.json").exists() or "collectstatic" in sys.argv[1:2]
WHITENOISE_USE_FINDERS = not _HASHED_FILES  # without a collectstatic: straight from the sources
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if _HASHED_FILES
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}

# --- mail (into files until a server is named) --------------------------------------------------
EMAIL_HOST = env.text("EMAIL_HOST")
EMAIL_PORT = env.integer("EMAIL_PORT", 587, minimum=1, maximum=65_535)
EMAIL_HOST_USER = env.text("EMAIL_HOST_USER")
EMAIL_HOST_PASSWORD = env.secret("EMAIL_HOST_PASSWORD")
EMAIL_USE_TLS = env.flag("EMAIL_USE_TLS", True)
EMAIL_TIMEOUT = 10
EMAIL_BACKEND = f"django.core.mail.backends.{'smtp' if EMAIL_HOST else 'filebased'}.EmailBackend"
EMAIL_FILE_PATH = DATA_DIR / "mail"
DEFAULT_FROM_EMAIL = env.text("DEFAULT_FROM_EMAIL", "Task Center <taskcenter@localhost>")

# --- REST ---------------------------------------------------------------------------------------
REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "Task Center",
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api/v1",
}
PROMETHEUS_EXPORT_MIGRATIONS = False

# --- logs ---------------------------------------------------------------------------------------
LOGGING = logs.configure(
    env.choice("TASKCENTER_LOG_FORMAT", "console" if DEBUG else "json", ("json", "console")),
    env.choice("TASKCENTER_LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR")),
)
