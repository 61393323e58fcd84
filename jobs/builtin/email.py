"""`email:deliver`: one mail to one user, from a template; the address is looked up when it runs."""

import re
import smtplib

import msgspec
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.mail import EmailMultiAlternatives
from django.template import TemplateDoesNotExist
from django.template.loader import render_to_string

from jobs.domain.outcomes import SkipRetry
from jobs.handlers import Context, task

_TEMPLATE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_DOMAIN = "taskcenter.local"


class Email(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`template` names `email/<template>.txt` and, if there is one, `.html` beside it."""

    user_id: int
    template: str = "welcome"
    subject: str | None = None


@task("email:deliver", timeout_s=60.0)
def deliver(payload: Email, context: Context) -> dict[str, str]:
    """Send it. The Message-ID follows from the task's id, so a receiver can tell a repetition.

    Raises SkipRetry for an unknown user, a user without an address, an unknown template, a refused address.
    """
    user = get_user_model().objects.filter(pk=payload.user_id).first()
    if user is None:
        raise SkipRetry(f"There is no user {payload.user_id}")
    address = str(getattr(user, "email", "") or "")
    if not address:
        raise SkipRetry(f"User {payload.user_id} has no e-mail address")
    message_id = f"<{context.task_id}@{_DOMAIN}>"
    message = _compose(payload, user, address, message_id)
    try:
        message.send()
    except smtplib.SMTPRecipientsRefused as error:
        raise _refusal(error) from error
    context.log.info("e-mail delivered", template=payload.template, user_id=payload.user_id)
    return {"message_id": message_id, "template": payload.template}


def _compose(payload: Email, user: object, address: str, message_id: str) -> EmailMultiAlternatives:
    if not _TEMPLATE_NAME.fullmatch(payload.template):
        raise SkipRetry(f"{payload.template!r} is no name of a template")
    facts = {"user": user}
    try:
        body = render_to_string(f"email/{payload.template}.txt", facts)
        subject = payload.subject or render_to_string(
            f"email/{payload.template}.subject.txt", facts
        )
    except TemplateDoesNotExist as error:
        raise SkipRetry(f"There is no e-mail template {payload.template!r}") from error
    message = EmailMultiAlternatives(
        subject=" ".join(subject.split()),
        body=body,
        from_email=settings.DEFAULT_FROM_EMAIL,
        to=[address],
        headers={"Message-ID": message_id},
    )
    html = _html(payload.template, facts)
    if html:
        message.attach_alternative(html, "text/html")
    return message


def _html(template: str, facts: dict[str, object]) -> str | None:
    try:
        return render_to_string(f"email/{template}.html", facts)
    except TemplateDoesNotExist:
        return None


def _refusal(error: smtplib.SMTPRecipientsRefused) -> Exception:
    """4xx answers are worth another try, 5xx ones are not."""
    codes = [code for code, _ in error.recipients.values()]
    if codes and all(code >= 500 for code in codes):
        return SkipRetry(f"The mail server refuses the address ({codes[0]})")
    return error
