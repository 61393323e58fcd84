"""Fixtures of the fault tests (imports of our code wait until Django is set up)."""

import pytest

from tests.support.books import Books
from tests.support.processes import Processes


@pytest.fixture
def books(processes: Processes) -> Books:
    """The books of the test database; this process remembers nothing of earlier tests; accounts are open."""
    from jobs.operations import tickets
    from jobs.store import catalog
    from tests.support import load

    tickets.forget()
    catalog.forget()
    load.open_accounts()
    return Books(url=load.database_url())
