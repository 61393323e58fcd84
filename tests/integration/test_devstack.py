"""The embedded servers: real, private, durable (D-01)."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from taskcenter.devstack import ports
from taskcenter.devstack.process import Child, Spec, StartFailed
from taskcenter.devstack.redis import Redis
from taskcenter.devstack.testing import Servers, servers
from tests.support.wait import eventually

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def own() -> Iterator[Servers]:
    with servers() as started:
        yield started


@pytest.mark.req("D-01")
def test_both_servers_answer_on_loopback_with_a_password_only(own: Servers) -> None:
    with psycopg.connect(own.database_url) as connection:
        row = connection.execute("SHOW listen_addresses").fetchone()
    assert row == ("127.0.0.1",)
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(own.database_url.replace("taskcenter:", "taskcenter:x"), connect_timeout=3)
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=own.redis.port, retry=Retry(NoBackoff(), 0)).ping()


@pytest.mark.req("D-01")
def test_postgres_never_runs_as_root(own: Servers) -> None:
    assert Path(f"/proc/{own.postgres.child.pid}").stat().st_uid != 0


@pytest.mark.req("D-01")
def test_rows_survive_a_crash_of_postgres(own: Servers) -> None:
    with psycopg.connect(own.database_url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (n int)")
        connection.execute("INSERT INTO kept VALUES (1)")
    own.postgres.restart(immediate=True)
    with psycopg.connect(own.database_url) as connection:
        assert connection.execute("SELECT n FROM kept").fetchall() == [(1,)]


@pytest.mark.req("D-01")
def test_postgres_comes_back_after_kill_9_with_clients_still_connected(own: Servers) -> None:
    clients = [psycopg.connect(own.database_url) for _ in range(5)]
    own.postgres.kill()
    own.postgres.start()
    with psycopg.connect(own.database_url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    for client in clients:
        client.close()


@pytest.mark.req("D-01")
def test_redis_keeps_its_keys_over_a_restart_and_refuses_to_evict(own: Servers) -> None:
    client = redis.Redis.from_url(own.redis_url, decode_responses=True)
    client.set("kept", "1")
    own.redis.restart()
    assert client.get("kept") == "1"
    assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


@pytest.mark.req("D-01")
def test_a_stranger_on_the_port_is_not_taken_for_our_server(own: Servers, tmp_path: Path) -> None:
    stranger = Redis(folder=tmp_path, logs=tmp_path / "logs", port=own.redis.port)
    with pytest.raises(StartFailed, match=r"Another Redis|ended with status"):
        stranger.start()


@pytest.mark.req("D-01")
def test_a_port_in_use_stops_make_run_with_one_line(own: Servers, tmp_path: Path) -> None:
    done = _run_stack(tmp_path, PORT=str(own.redis.port))
    assert done.returncode == 1
    assert f"Port {own.redis.port} is in use" in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


@pytest.mark.req("D-01")
def test_a_second_stack_on_the_same_data_is_refused(tmp_path: Path) -> None:
    import fcntl

    with (tmp_path / "lock").open("w") as lock:
        lock.write("4711")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = _run_stack(tmp_path, PORT=str(ports.free_port()))
    assert done.returncode == 1
    assert "Another Task Center (pid 4711)" in done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
@pytest.mark.req("D-01")
def test_children_die_with_a_killed_parent(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from taskcenter.devstack.process import Child, Spec\n"
        "child = Child(Spec(name='x', argv=['sleep', '600'], env={}, log=Path(sys.argv[1])))\n"
        "child.start(); print(child.pid, flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "log")],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    eventually(lambda: not _runs(pid))


@pytest.mark.req("D-01")
def test_a_child_that_ignores_the_stop_signal_is_killed_with_its_group(tmp_path: Path) -> None:
    stubborn = f"trap '' TERM; sleep 600 & echo $! > {tmp_path / 'pid'}; wait; wait"
    child = Child(Spec(name="stubborn", argv=["sh", "-c", stubborn], env={}, log=tmp_path / "log"))
    child.start()
    grandchild = int(eventually(lambda: _content(tmp_path / "pid")))
    child.stop(grace_s=0.2)
    assert child.returncode == -signal.SIGKILL
    eventually(lambda: not _runs(grandchild))


def _run_stack(data: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "taskcenter.devstack", "run"],
        cwd=ROOT,
        env={**os.environ, "TASKCENTER_DATA_DIR": str(data), **env},
        capture_output=True,
        text=True,
        timeout=60,
    )


def _content(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.req("D-01", "D-03")
@pytest.mark.parametrize(
    ("name", "value"),
    [("ASYNQ_CONCURRENCY", "many"), ("TASKCENTER_STOP_GRACE_S", "-1"), ("UPDATE_TASK", "perhaps")],
)
def test_a_wrong_variable_is_named_before_any_server_starts(
    name: str, value: str, tmp_path: Path
) -> None:
    none = {"DATABASE_URL": "", "REDIS_URL": "", "PORT": str(ports.free_port())}
    done = _run_stack(tmp_path, **{**none, name: value})
    assert done.returncode == 1
    assert f"{name}: '{value}' is not possible" in done.stdout + done.stderr
    assert not list(tmp_path.glob("**/postgres*")) + list(tmp_path.glob("**/redis*"))
