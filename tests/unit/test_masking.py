"""What is hidden of a document by the names of its fields."""

import pytest

from jobs.selectors.masking import MASK, masked
from taskcenter.logs import _SECRET_WORDS


@pytest.mark.req("T-04")
@pytest.mark.parametrize(
    "name",
    [*_SECRET_WORDS, "Cookie", "Set-Cookie", "apiKey", "X-Api-Key", "private_key", "privateKey"]
    + ["AWS_SECRET_ACCESS_KEY", "accessKey", "passphrase", "db-password"],
)
def test_what_logs_hide_and_other_secrets_are_hidden_of_documents_too(name: str) -> None:
    assert masked({"a": [{name: "x"}]}) == {"a": [{name: MASK}]}


@pytest.mark.req("T-04")
@pytest.mark.parametrize("name", ["key", "user_id", "template", "access", "keys", "privacy"])
def test_other_names_are_left_as_they_are(name: str) -> None:
    assert masked({name: "x"}) == {name: "x"}
