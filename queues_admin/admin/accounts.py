"""Accounts and their ledger; grants and corrections by hand."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from jobs.domain import ids
from jobs.models import Account, CreditEntry, Tenant
from jobs.operations import credits
from jobs.store import catalog
from queues_admin.admin.base import BackOffice, Route, actor, page
from queues_admin.admin.confirm import Change, Done, ReasonForm, confirm
from queues_admin.admin.keyset import newest_first
from queues_admin.admin.whose import chosen, slug

GRANT = "jobs.grant_account"
_MOST = 10**12


class GrantForm(ReasonForm):
    """How much is given."""

    field_order: tuple[str, ...] = ("amount", "reason")

    amount = forms.IntegerField(label=gettext_lazy("Credits"), min_value=1, max_value=_MOST)


class NewAccountForm(GrantForm):
    user_id = forms.IntegerField(
        label=gettext_lazy("User id"), min_value=-(2**63), max_value=2**63 - 1
    )
    field_order = ("user_id", "amount", "reason")


class AdjustForm(ReasonForm):
    """Up or down."""

    amount = forms.IntegerField(
        label=gettext_lazy("Credits (negative takes away)"), min_value=-_MOST, max_value=_MOST
    )
    field_order = ("amount", "reason")

    def clean_amount(self) -> int:
        amount: int = self.cleaned_data["amount"]
        if amount == 0:
            raise forms.ValidationError(_("An adjustment of 0 changes nothing."))
        return amount


@admin.register(Account)
class AccountAdmin(BackOffice):
    def routes(self) -> list[Route]:
        view = "jobs.view_account"
        return [
            Route(path="", view=overview, name="changelist", permission=view),
            Route(path="grant/", view=open_account, name="add", permission=view),
            Route(path="user/<str:user_id>/", view=of_user, name="user", permission=view),
            Route(path="<int:account_id>/", view=detail, name="change", permission=view),
            Route(path="<int:account_id>/grant/", view=grant, name="grant", permission=view),
            Route(path="<int:account_id>/adjust/", view=adjust, name="adjust", permission=view),
        ]


@admin.register(CreditEntry)
class CreditEntryAdmin(BackOffice):
    def routes(self) -> list[Route]:
        return [Route(path="", view=ledger, name="changelist", permission="jobs.view_creditentry")]


def overview(request: HttpRequest) -> HttpResponse:
    tenant_id = chosen(request)
    rows = Account.objects.filter(tenant_id=tenant_id)
    wanted = request.GET.get("user_id", "").strip()
    user_id = _integer(wanted)
    if wanted:
        rows = rows.filter(user_id=user_id) if user_id is not None else rows.none()
    return page(
        request,
        "accounts.html",
        title=_("Accounts"),
        page=newest_first(request, rows),
        wanted=wanted,
        tenant=slug(tenant_id),
        many_tenants=Tenant.objects.exclude(pk=catalog.DEFAULT_TENANT).exists(),
    )


def of_user(request: HttpRequest, user_id: str) -> HttpResponse:
    """The account's page by what everybody knows of it, for links from elsewhere."""
    user = _integer(user_id)
    rows = Account.objects.filter(tenant_id=chosen(request))
    found = None if user is None else rows.filter(user_id=user).first()
    if found is None:
        raise Http404
    return redirect("admin:jobs_account_change", found.pk)


def detail(request: HttpRequest, account_id: int) -> HttpResponse:
    account = _account(account_id)
    entries = newest_first(request, CreditEntry.objects.filter(account_id=account_id))
    title = _("Account of user %(user)s") % {"user": account.user_id}
    return page(
        request,
        "account.html",
        title=title,
        account=account,
        tenant=slug(account.tenant_id),
        page=entries,
        lines=lines(entries.items),
    )


def ledger(request: HttpRequest) -> HttpResponse:
    rows = CreditEntry.objects.all()
    kinds = dict(CreditEntry.KINDS)
    kind = _integer(request.GET.get("kind", ""))
    if kind in kinds:
        rows = rows.filter(kind=kind)
    entries = newest_first(request, rows)
    users = dict(
        Account.objects.filter(pk__in={e.account_id for e in entries.items}).values_list(
            "pk", "user_id"
        )
    )
    return page(
        request,
        "ledger.html",
        title=_("Ledger"),
        page=entries,
        lines=lines(entries.items, users),
        kinds=CreditEntry.KINDS,
        kind=kind,
    )


def lines(entries: list[CreditEntry], users: dict[int, int] | None = None) -> list[dict[str, Any]]:
    """Ledger lines with what a page shows beside them."""
    return [
        {
            "entry": entry,
            "task_id": ids.public_id(entry.task_id) if entry.task_id else "",
            "user_id": (users or {}).get(entry.account_id),
        }
        for entry in entries
    ]


def grant(request: HttpRequest, account_id: int) -> HttpResponse:
    account = _account(account_id)

    def perform(given: dict[str, Any]) -> Done:
        return _granted(request, account.tenant_id, account.user_id, given)

    effects = [
        ngettext(
            "User %(user)s has %(balance)s credit now; the grant is added at once and stays in the ledger.",
            "User %(user)s has %(balance)s credits now; the grant is added at once and stays in the ledger.",
            account.balance,
        )
        % {"user": account.user_id, "balance": account.balance}
    ]
    return confirm(
        request, _change(account, "account.grant", _("Grant credits"), effects, perform, GrantForm)
    )


def open_account(request: HttpRequest) -> HttpResponse:
    """A grant to a user id of the chosen tenant, whose account is opened if need be."""
    tenant_id = chosen(request)

    def perform(given: dict[str, Any]) -> Done:
        return _granted(request, tenant_id, given["user_id"], given)

    return confirm(
        request,
        Change(
            action="account.grant",
            target=" ".join(("account", slug(tenant_id))).strip(),
            title=_("Grant credits"),
            button=_("Grant credits"),
            effects=[
                _("The user's account is opened if there is none; the grant stays in the ledger.")
            ],
            permissions=(GRANT,),
            back=reverse("admin:jobs_account_changelist"),
            perform=perform,
            form=NewAccountForm,
        ),
    )


def adjust(request: HttpRequest, account_id: int) -> HttpResponse:
    account = _account(account_id)

    def perform(given: dict[str, Any]) -> Done:
        done = credits.adjust(
            user_id=account.user_id,
            amount=given["amount"],
            reason=given["reason"],
            actor=actor(request),
            tenant_id=account.tenant_id,
        )
        return Done(
            message=_("The balance is %(n)s now.") % {"n": done.balance},
            after={"balance": done.balance},
        )

    effects = [
        ngettext(
            "User %(user)s has %(balance)s credit now; a correction changes that at once and stays in the ledger.",
            "User %(user)s has %(balance)s credits now; a correction changes that at once and stays in the ledger.",
            account.balance,
        )
        % {"user": account.user_id, "balance": account.balance}
    ]
    return confirm(
        request,
        _change(account, "account.adjust", _("Adjust balance"), effects, perform, AdjustForm),
    )


def _change(
    account: Account,
    action: str,
    verb: str,
    effects: list[str],
    perform: Any,
    form: type[ReasonForm],
) -> Change:
    return Change(
        action=action,
        target=f"account of user {account.user_id}",
        title=_("%(verb)s: user %(user)s") % {"verb": verb, "user": account.user_id},
        button=verb,
        effects=effects,
        permissions=(GRANT,),
        back=reverse("admin:jobs_account_change", args=[account.pk]),
        perform=perform,
        form=form,
        before={"balance": account.balance},
    )


def _granted(request: HttpRequest, tenant_id: int, user_id: int, given: dict[str, Any]) -> Done:
    done = credits.grant(
        user_id=user_id,
        amount=given["amount"],
        reason=given["reason"],
        actor=actor(request),
        tenant_id=tenant_id,
    )
    message = ngettext(
        "User %(user)s has %(n)s credit now.", "User %(user)s has %(n)s credits now.", done.balance
    )
    return Done(
        message=message % {"user": user_id, "n": done.balance},
        after={"user_id": user_id, "amount": given["amount"], "balance": done.balance},
    )


def _account(account_id: int) -> Account:
    found = Account.objects.filter(pk=account_id).first()
    if found is None:
        raise Http404
    return found


def _integer(text: str) -> int | None:
    try:
        value = int(text)
    except ValueError:
        return None
    return value if -(2**63) <= value < 2**63 else None
