import pytest

from jobs.lifecycle.redis_versions import has_hole, too_old


@pytest.mark.req("S27")
@pytest.mark.parametrize(
    ("info", "old", "hole"),
    [
        ({"redis_version": "5.0.14"}, True, True),
        ({"redis_version": "6.0.16"}, True, True),
        ({"redis_version": "6.2.19"}, False, True),
        ({"redis_version": "6.2.20"}, False, False),
        ({"redis_version": "7.0.15"}, False, True),
        ({"redis_version": "7.4.5"}, False, True),
        ({"redis_version": "8.2.2"}, False, False),
        ({"redis_version": "8.4.0"}, False, False),
        ({"redis_version": "7.2.4", "valkey_version": "8.1.3"}, False, True),
        ({"redis_version": "7.2.4", "valkey_version": "8.1.4"}, False, False),
        ({"redis_version": "7.2.4", "valkey_version": "9.0.0"}, False, False),
        ({}, False, False),
        ({"redis_version": "managed"}, False, False),
    ],
)
def test_servers_that_are_too_old_or_known_for_their_hole_are_named(
    info: dict[str, object], old: bool, hole: bool
) -> None:
    assert (too_old(info), has_hole(info)) == (old, hole)
