"""A schema fuzzer against every operation: nothing undocumented, never a 5xx."""

from typing import Any

import pytest
import schemathesis
from django.core.wsgi import get_wsgi_application
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from queues_admin.api import guessing
from tests.support import api

app = get_wsgi_application()
schema = schemathesis.openapi.from_wsgi("/api/v1/schema", app)


@pytest.fixture
def token(transactional_db: None, redis: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """An admin's key; the fuzzer's wrong keys are many, and only what they are answered counts here."""
    monkeypatch.setattr(guessing, "MOST", 10**9)
    api.forget()
    return api.client("admin").key


@pytest.mark.req("A-04")
@schema.parametrize()
@settings(
    max_examples=8,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_no_input_finds_an_undocumented_answer(case: Any, token: str) -> None:
    case.call_and_validate(
        headers={"Authorization": f"Bearer {token}"},
        excluded_checks=[positive_data_acceptance],  # rules beyond the schema: 422 is an answer
    )
