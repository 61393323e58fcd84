"""The lanes: where a run happens. All have the same four verbs."""

from collections.abc import Sequence
from typing import Protocol

from jobs.worker.records import Active


class LaneRunner(Protocol):
    """`start` begins runs; `ask` asks one to stop (soft); `kill` ends one whatever it does; `close` ends the lane."""

    def start(self, records: Sequence[Active]) -> None: ...

    def ask(self, rec: Active) -> None: ...

    def kill(self, rec: Active) -> None: ...

    def close(self) -> None: ...
