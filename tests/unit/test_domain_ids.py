"""Ids: what users see of them, and the way back."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.domain import ids


@pytest.mark.req("Q-06")
@given(st.uuids(), st.integers(0, 10**6))
def test_every_public_form_leads_back_to_the_task(task_id: UUID, n: int) -> None:
    public = ids.public_id(task_id)
    assert len(public) == 31
    forms = (
        public,
        ids.job_id(public, n),
        ids.redriven_job_id(public, n),
        str(task_id),
        public.lower(),
    )
    assert {ids.parse_id(form) for form in forms} == {task_id}


@pytest.mark.req("Q-06")
def test_job_ids_look_as_in_the_guide() -> None:
    assert ids.job_id("task_abc", 0) == "job:task_abc:0"
    assert ids.job_id("task_abc", 3) == "job:task_abc:3"
    assert ids.redriven_job_id("task_abc", 1642000000) == "job:task_abc:retry:1642000000"
    assert ids.task_part("job:task_abc:retry:1642000000") == "task_abc"


@pytest.mark.req("Q-06")
def test_a_new_id_is_a_uuid_of_version_7_and_sorts_by_time() -> None:
    made = [ids.new_id() for _ in range(1_000)]
    assert len(set(made)) == 1_000
    assert {(one.version, one.variant) for one in made} == {(7, "specified in RFC 4122")}
    assert [one.int >> 80 for one in made] == sorted(one.int >> 80 for one in made)


@pytest.mark.req("S-02")
def test_a_callers_own_name_is_one_task_per_tenant() -> None:
    assert (
        ids.parse_id("order-17") == ids.parse_id("job:order-17:2") == ids.custom_id(1, "order-17")
    )
    assert ids.custom_id(1, "order-17") != ids.custom_id(2, "order-17")


@given(st.text(max_size=60))
def test_any_text_at_all_parses_to_some_id(text: str) -> None:
    assert isinstance(ids.parse_id(text.encode("utf-8", "replace").decode()), UUID)
