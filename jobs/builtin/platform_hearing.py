"""What the requests of one batch brought, told to the breakers: failures at once, answers at the end."""

import asyncio

from jobs.builtin.platform_http import db
from jobs.operations import breakers
from jobs.operations.breakers import Admission, Heard
from jobs.platforms import base


def trouble(failure: base.Transient | base.TransientPoll) -> Heard:
    """What the breakers hear of a request without a usable answer."""
    if failure.kept:
        return Heard.KEPT
    return Heard.REFUSED if failure.alive else Heard.NOTHING


class Hearing:
    """`shut`: a breaker has opened since the admission; what has not left yet stays here."""

    def __init__(self, admission: Admission) -> None:
        self.shut = False
        self._admission = admission
        self._heard: list[Heard] = []
        self._unused = 0
        self._writing = asyncio.Lock()

    async def hear(self, heard: Heard | None) -> None:
        """One request's answer, in the order in which they come; None: it never left."""
        if heard is None:
            self._unused += 1
            return
        self._heard.append(heard)
        if heard is not Heard.GOOD and not self._writing.locked():
            await self.write()

    async def write(self) -> None:
        async with self._writing:
            heard, self._heard = self._heard, []
            unused, self._unused = self._unused, 0
            self.shut |= await db(breakers.record, self._admission, heard, unused=unused)
