"""Chains, groups and shards: tasks that wait for others."""

import pytest

from jobs.domain.errors import Conflict, Invalid
from jobs.operations import actions, credits, duties, groups
from jobs.operations.tasks import submit
from jobs.store import postgres
from tests.support.engine import Hand, balance, dead, failed, row, succeeded

pytestmark = pytest.mark.usefixtures("engine")


def _age_groups() -> None:
    postgres.query("UPDATE task SET ord = ord - 3600000000 WHERE state = 7 RETURNING 1")


@pytest.mark.req("S-10")
def test_a_chained_task_starts_when_all_it_waits_for_have_succeeded() -> None:
    first, second = submit("debug:noop"), submit("debug:noop")
    last = submit("debug:noop", after=[first.task_id, second.job_id])
    hand = Hand()
    one, two = hand.claim()
    hand.settle([one], succeeded)
    assert row(last.id, "state") == 7
    hand.settle([two], succeeded)
    assert row(last.id, "state") == 1
    assert [run.id for run in hand.claim()] == [str(last.id)]


@pytest.mark.req("S-10", "C-02")
def test_a_chain_ends_with_a_failure_and_is_refunded_to_its_end() -> None:
    credits.grant(user_id=7, amount=100, reason="test", actor="test")
    first = submit("debug:noop")
    second = submit("debug:noop", after=[first.task_id], user_id=7, credits=40)
    third = submit("debug:noop", after=[second.task_id], user_id=7, credits=60)
    hand = Hand()
    hand.settle(hand.claim(), failed)
    assert row(second.id, "state", "status") == (6, 9)
    assert row(third.id, "state", "status") == (6, 9)
    assert balance(7) == 100


@pytest.mark.req("S-10")
def test_a_chain_waits_on_while_its_predecessor_is_a_dead_letter() -> None:
    first = submit("debug:noop")
    last = submit("debug:noop", after=[first.task_id])
    hand = Hand()
    hand.settle(hand.claim(), dead)
    assert row(last.id, "state") == 7
    actions.run_now(first.id, actor="test")
    hand.settle(hand.claim(), succeeded)
    assert row(last.id, "state") == 1


@pytest.mark.req("S-10")
def test_what_cannot_be_waited_for_is_refused_and_what_has_succeeded_is_not_waited_for() -> None:
    with pytest.raises(Invalid):
        submit("debug:noop", after=["task_00000000000000000000000000"])
    done, broken = submit("debug:noop"), submit("debug:noop")
    hand = Hand()
    runs = {run.id: run for run in hand.claim()}
    hand.settle([runs[str(done.id)]], succeeded)
    hand.settle([runs[str(broken.id)]], failed)
    assert row(submit("debug:noop", after=[done.task_id]).id, "state") == 1
    with pytest.raises(Conflict):
        submit("debug:noop", after=[broken.task_id])
    assert postgres.query("SELECT count(*) FROM task_wait") == [(0,)]


@pytest.mark.req("S-10", "AC41")
def test_members_of_a_group_become_one_task_after_the_grace_period() -> None:
    made = [submit("debug:collect", {"n": n}, group="mails") for n in range(3)]
    assert groups.collect() == 0
    assert {row(m.id, "state") for m in made} == {7}
    _age_groups()
    assert groups.collect() == 1
    hand = Hand()
    [run] = hand.claim()
    assert run.type == "debug:echo"
    assert run.payload_json == '{"group": "mails", "members": [{"n": 0}, {"n": 1}, {"n": 2}]}'
    hand.settle([run], succeeded)
    assert {row(m.id, "state", "status") for m in made} == {(6, 4)}


@pytest.mark.req("S-10", "AC41", "AC42")
def test_a_full_group_is_collected_at_once_and_the_rest_stays() -> None:
    for n in range(13):
        submit("debug:collect", {"n": n}, group="mails")
    assert groups.collect() == 1
    assert postgres.query("SELECT count(*) FROM task WHERE state = 7 AND flags & 16 > 0") == [(3,)]


@pytest.mark.req("S-10")
def test_two_groups_are_never_mixed() -> None:
    submit("debug:collect", {"n": 1}, group="a")
    submit("debug:collect", {"n": 2}, group="b")
    _age_groups()
    assert groups.collect() == 2
    payloads = sorted(run.payload_json for run in Hand().claim())
    assert payloads == [
        '{"group": "a", "members": [{"n": 1}]}',
        '{"group": "b", "members": [{"n": 2}]}',
    ]


@pytest.mark.req("S-11", "AC37", "AF03")
def test_a_member_with_a_delay_joins_its_group_when_it_is_due() -> None:
    late = submit("debug:collect", {"n": 1}, group="mails", process_in=60)
    assert row(late.id, "state") == 3
    postgres.query("UPDATE task SET run_at = now() WHERE id = %s RETURNING 1", [late.id])
    duties.dispatch()
    assert row(late.id, "state", "run_at") == (7, None)
    _age_groups()
    assert groups.collect() == 1


@pytest.mark.req("S-10", "C-02")
def test_members_of_a_failed_group_are_refunded_once() -> None:
    credits.grant(user_id=7, amount=100, reason="test", actor="test")
    member = submit("debug:collect", {"n": 1}, group="mails", user_id=7, credits=30)
    _age_groups()
    groups.collect()
    hand = Hand()
    hand.settle(hand.claim(), failed)
    assert row(member.id, "state", "status") == (6, 5)
    assert balance(7) == 100
    assert credits.mismatches() == []


@pytest.mark.req("S-10")
def test_a_type_without_an_aggregate_cannot_be_grouped() -> None:
    with pytest.raises(Invalid):
        submit("debug:noop", group="x")
