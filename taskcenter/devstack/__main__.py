"""`python -m taskcenter.devstack run`: everything on this machine, in the foreground.

`python -m taskcenter.devstack manage <command>`: a management command beside it, on the same databases.
"""

import os
import sys
from typing import NoReturn

from taskcenter.devstack import options as options_of
from taskcenter.devstack.options import Options
from taskcenter.devstack.process import StartFailed
from taskcenter.devstack.stack import Stack
from taskcenter.devstack.supervisor import Stopped, Supervisor


def main(arguments: list[str]) -> int:
    if not (arguments == ["run"] or (arguments[:1] == ["manage"] and len(arguments) > 1)):
        print("usage: python -m taskcenter.devstack run | manage <command> …", file=sys.stderr)
        return 2
    options = options_of.read()
    try:
        return _start(options) if arguments == ["run"] else _manage(options, arguments[1:])
    except StartFailed as error:
        _say(f"Not started: {error}")
        return 1


def _start(options: Options) -> int:
    supervisor = Supervisor(_say)
    supervisor.listen()
    with options_of.locked(options.data):
        return _run(Stack(options, supervisor, _say))


def _run(stack: Stack) -> int:
    try:
        stack.start()
        stack.supervisor.watch()
    except Stopped:
        pass
    finally:
        if stack.supervisor.services:
            _say("Stopping (Ctrl-C again to hurry) …")
            stack.supervisor.stop()
            _say("Stopped.")
    return 0


def _manage(options: Options, arguments: list[str]) -> NoReturn:
    """Become `manage.py <arguments>` on the databases of the running stack. Raises StartFailed."""
    os.environ.update(options_of.recall(options))
    os.chdir(options_of.ROOT)
    argv = [sys.executable, "manage.py", *arguments]
    os.execv(sys.executable, argv)  # noqa: S606 - signals are to reach the command itself


def _say(line: str) -> None:
    """To people; a terminal that was closed is no reason to leave anything running."""
    try:
        print(line, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
