"""What a task is and how it lives."""


def run(task_id: str) -> str:
    """What every ticket in Redis names: claim, run and settle this one task (by a worker that isn't ours)."""
    import django
    from django.apps import apps

    if not apps.ready:
        django.setup()
    from jobs.worker import ticket

    return ticket.run(task_id)
