"""The process lane's child, `python -m jobs.worker.child <fd> <parent pid>`: runs until its pipe closes."""

import contextvars
import signal
import socket
import sys
import threading
from typing import Any

import django
import msgspec

from jobs.worker import leash
from jobs.worker.frames import Frames


def main() -> None:
    leash.die_with_parent(int(sys.argv[2]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, who decides
    signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    django.setup()
    Child(Frames(socket.socket(fileno=int(sys.argv[1])))).serve()


class Child:
    """Reads runs and cancellations on a second thread, so that a busy handler can be asked to stop."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self._arrived = threading.Condition()
        self._next: dict[str, Any] | None = None
        self._closed = False
        self._cancel: Any = None

    def serve(self) -> None:
        threading.Thread(target=self._read, daemon=True).start()
        self._frames.send({"ready": True})
        while (message := self._take()) is not None:
            self._frames.send({"outcome": contextvars.copy_context().run(self._run, message)})

    def _read(self) -> None:
        while (message := self._frames.receive()) is not None:
            if "cancel" in message:
                if self._cancel is not None:
                    self._cancel()
                continue
            with self._arrived:
                self._next = message
                self._arrived.notify()
        with self._arrived:
            self._closed = True
            self._arrived.notify()

    def _take(self) -> dict[str, Any] | None:
        with self._arrived:
            while self._next is None and not self._closed:
                self._arrived.wait()
            message, self._next = self._next, None
            return message

    def _run(self, message: dict[str, Any]) -> Any:
        from jobs.operations.runs import Run
        from jobs.worker import execution, solo
        from jobs.worker.records import Active

        rec = Active(Run(**message["run"]), message["queue"], message["worker"])
        refused = execution.equip(rec)
        if refused is not None:
            return msgspec.to_builtins(refused)
        if rec.context is not None:
            rec.context._report = lambda percent: self._frames.send({"progress": percent})
        run = solo.Solo(rec)
        self._cancel = run.cancel
        try:
            return msgspec.to_builtins(run.outcome())
        finally:
            self._cancel = None


if __name__ == "__main__":
    main()
