"""JSON objects in forms: what is masked is never stored as it stands."""

from typing import Any

from django import forms
from django.utils.translation import gettext as _

from jobs.selectors.masking import MASK


class ObjectField(forms.JSONField):
    """A JSON object; empty is `{}`. Raises ValidationError for other JSON."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("required", False)
        kwargs.setdefault("widget", forms.Textarea(attrs={"rows": 5, "class": "tc-code"}))
        super().__init__(**kwargs)

    def clean(self, value: Any) -> Any:
        found = super().clean(value)
        if found in (None, ""):
            return {}
        if not isinstance(found, dict):
            raise forms.ValidationError(_("This must be a JSON object."))
        return found


def changed(given: Any, shown: Any) -> bool:
    """Whether the form's value is another than the one it showed. Raises ValidationError for masks in a new one."""
    if given == shown:
        return False
    if MASK in str(given):
        raise forms.ValidationError(
            _("Masked values would be lost: write them anew, or leave the whole field as it was.")
        )
    return True
