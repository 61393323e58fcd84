"""A bulkhead: how many requests to one platform this process has out at once, so that a slow one holds up no other."""

import asyncio
import time
import weakref

from django.conf import settings

PATIENCE_S = 1.0
_SHARE = 4
_AT_LEAST = 4


class Room:
    """Places for requests to one platform; belongs to one event loop."""

    def __init__(self, places: int) -> None:
        self._places = asyncio.Semaphore(places)
        self._moved_s = 0.0

    async def enter(self) -> bool:
        """Take a place, soon; False: too many requests are out and do not come back. Leave it by `leave`."""
        now_s = time.monotonic()
        if not self._places.locked():
            self._moved_s = now_s
            return await self._places.acquire()
        if now_s - self._moved_s >= PATIENCE_S:
            return False
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self._places.acquire()
        except TimeoutError:
            return False

    def leave(self) -> None:
        self._moved_s = time.monotonic()
        self._places.release()


_rooms: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[int, Room]]" = (
    weakref.WeakKeyDictionary()
)


def room_of(platform_id: int) -> Room:
    """The platform's room on the running loop: a quarter of the poll slots."""
    rooms = _rooms.setdefault(asyncio.get_running_loop(), {})
    if platform_id not in rooms:
        slots = int(settings.TASKCENTER["POLL_SLOTS"])
        rooms[platform_id] = Room(max(_AT_LEAST, slots // _SHARE))
    return rooms[platform_id]
