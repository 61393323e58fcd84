"""The audit log."""

from jobs.selectors import audit
from jobs.selectors.audit import AuditView
from jobs.selectors.paging import Page
from queues_admin.api.bodies import AuditQuery
from queues_admin.api.endpoint import Api, Call, endpoint
from queues_admin.api.envelope import Reply


class Audit(Api):
    @endpoint(
        summary="Who changed what, newest first",
        scope="admin",
        query=AuditQuery,
        data=Page[AuditView],
    )
    def get(self, call: Call) -> Reply:
        q: AuditQuery = call.query
        return Reply(
            data=audit.listing(
                actor=q.actor,
                action=q.action,
                refused=q.refused,
                after=q.cursor,
                limit=q.limit,
                tenant_id=call.sees,
                tenant=q.tenant,
            )
        )
