"""Run the benchmarks and print a table; `--json FILE` writes the figures, `--quick` runs less of each."""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import figures, polling, stack, web, workers
from bench.figures import Figure
from taskcenter.devstack.testing import servers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short run of each")
    parser.add_argument("--runs", type=int, default=5, help="runs of each figure")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with servers() as running:
        env = stack.configure(running.database_url, running.redis_url)
        measured = list(measure(env, running.redis_url, quick=options.quick, runs=options.runs))
    show(measured)
    if options.json:
        options.json.write_text(json.dumps(figures.as_json(measured), indent=2) + "\n")


def measure(env: dict[str, str], redis_url: str, *, quick: bool, runs: int) -> Iterator[Figure]:
    """All figures, peers beside ours in the same run."""
    runs, tasks = (1, 5_000) if quick else (runs, 20_000)
    for concurrency in (10, 100):
        yield figures.throughput(env, tasks=tasks, runs=runs, concurrency=concurrency)
    yield figures.rq_peer(redis_url, "rq.SimpleWorker", tasks=tasks // 10, runs=runs)
    yield figures.rq_peer(redis_url, "rq.Worker", tasks=tasks // 50, runs=runs)
    yield from figures.submit_rates(runs=runs)
    yield from web.submit_over_http(env, runs=runs, seconds=3 if quick else 10)
    yield from figures.pick_up(env, tasks=100 if quick else 1_000)
    yield figures.recovery(env, tries=1 if quick else 2 * runs)
    yield workers.memory(env)
    for concurrency in (100, 1_000):
        yield workers.waiting(env, tasks=tasks, concurrency=concurrency)
    yield from workers.punctuality(env, tasks=tasks // 2)
    yield workers.ticket_bytes()
    yield workers.second_process(env, tasks=tasks, runs=runs)
    batch, single = ((5_000,), (10_000,)) if quick else ((5_000, 10_000, 20_000), (10_000, 50_000))
    yield from polling.figures(env, batch=batch, single=single)


def show(measured: list[Figure]) -> None:
    table = Table("id", "what", "median", "min - max", "unit", "goal")
    for f in measured:
        table.add_row(
            f.id, f.what, f"{f.value:,.1f}", f"{f.low:,.1f} - {f.high:,.1f}", f.unit, f.goal
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
