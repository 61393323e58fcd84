"""Fixtures of the engine's own tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from django.test import Client

    from tests.support.api import ApiClient


@pytest.fixture
def engine(transactional_db: None, redis: object) -> Iterator[None]:
    """Real stores, and a process that remembers nothing of earlier tests."""
    from jobs.operations import tickets
    from jobs.store import catalog

    catalog.forget()
    tickets.forget()
    yield
    catalog.forget()
    tickets.forget()


@pytest.fixture
def caller(engine: None) -> ApiClient:
    """An admin of the house, by the API."""
    from tests.support import api

    api.forget()
    return api.client("admin")


@pytest.fixture
def root(engine: None) -> Client:
    """The superuser's browser."""
    from tests.integration.admin_support import client_of

    return client_of("root")
