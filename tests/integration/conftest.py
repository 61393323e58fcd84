"""Fixtures of the engine's own tests."""

from collections.abc import Iterator

import pytest


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
