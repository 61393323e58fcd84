"""A claimed run as others need it: for the settlement, and for requests to its platform."""

from jobs.domain import ids
from jobs.domain.states import Status
from jobs.lifecycle.settlement import RunFacts
from jobs.operations.platform_facts import PlatformFactsRow
from jobs.operations.runs import Run
from jobs.platforms import base


def reference(run: Run, facts: PlatformFactsRow) -> str:
    """Our idempotency key over there: the same for every try of one charged run-through."""
    return f"{ids.public_id(run.id)}.{facts.cycle}"


def poll_request(facts: PlatformFactsRow) -> base.PollRequest:
    return base.PollRequest(
        task_id=facts.task_id, external_id=facts.external_id or "", urls=facts.urls
    )


def run_facts(run: Run) -> RunFacts:
    return RunFacts(
        task_id=run.id,
        token=run.token,
        retried=run.retried,
        max_retries=run.max_retries,
        crashes=run.crashes,
        charged=run.credits > 0,
        status=Status(run.status),
    )
