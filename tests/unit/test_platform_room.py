"""A platform's room: as many requests at once, and no waiting where none comes back."""

import asyncio
import time

import pytest

from jobs.builtin.platform_room import PATIENCE_S, Room


@pytest.mark.req("F08", "E-05")
def test_a_request_waits_for_a_place_while_others_come_back() -> None:
    async def main() -> None:
        room = Room(1)
        assert await room.enter()
        asyncio.get_running_loop().call_later(0.01, room.leave)
        assert await room.enter()

    asyncio.run(main())


@pytest.mark.req("F08", "E-05")
def test_where_nothing_comes_back_all_wait_no_longer_than_the_first_of_them() -> None:
    async def main() -> list[bool]:
        room = Room(2)
        assert await room.enter()
        assert await room.enter()
        return [*await asyncio.gather(*(room.enter() for _ in range(20))), await room.enter()]

    began_s = time.monotonic()
    assert asyncio.run(main()) == [False] * 21
    assert PATIENCE_S <= time.monotonic() - began_s < 1.9 * PATIENCE_S


@pytest.mark.req("F08")
def test_a_room_that_was_stuck_takes_requests_again_as_soon_as_one_comes_back() -> None:
    async def main() -> None:
        room = Room(1)
        assert await room.enter()
        assert not await room.enter()
        room.leave()
        assert await room.enter()

    asyncio.run(main())
