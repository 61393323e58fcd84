"""Second factors of the console's people: a TOTP device each, and codes for the day it is lost."""

import secrets
from dataclasses import dataclass, field

from django.contrib.auth.models import User
from django.db import transaction
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice

from jobs.domain.errors import NotFound

_CODE_BYTES = 5
_NAME = "console"


@dataclass(frozen=True, kw_only=True, slots=True)
class Enrolled:
    """`url` (otpauth://) for the app that shows the codes; `codes` are good once each. Neither is shown again."""

    url: str = field(repr=False)
    codes: list[str] = field(repr=False)


def enroll(username: str, *, codes: int) -> Enrolled:
    """Replace whatever the person had. Raises NotFound."""
    with transaction.atomic():
        user = _locked(username)
        _forget(user)
        device = TOTPDevice.objects.create(user=user, name=_NAME)
        spare = StaticDevice.objects.create(user=user, name=_NAME)
        made = [secrets.token_hex(_CODE_BYTES) for _ in range(codes)]
        StaticToken.objects.bulk_create([StaticToken(device=spare, token=code) for code in made])
    return Enrolled(url=str(device.config_url), codes=made)


def remove(username: str) -> int:
    """Forget the person's devices and codes; returns how many devices there were. Raises NotFound."""
    with transaction.atomic():
        return _forget(_locked(username))


def _locked(username: str) -> User:
    user = User.objects.select_for_update(no_key=True).filter(username=username).first()
    if user is None:
        raise NotFound("There is no such user", user=username)
    return user


def _forget(user: User) -> int:
    totp = TOTPDevice.objects.filter(user=user)
    static = StaticDevice.objects.filter(user=user)
    count = int(totp.count() + static.count())
    totp.delete()
    static.delete()
    return count
