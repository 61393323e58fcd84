"""msgspec's complaints as errors whose words can be translated: what is wrong, and at which field."""

import re

from django.utils.translation import gettext_noop

from jobs.domain.errors import Invalid, Malformed, TaskCenterError

# Complaint → our template, said of the body as a whole and said of a field.
_KNOWN = (
    (
        re.compile(r"Object contains unknown field `(?P<name>.*)`"),
        gettext_noop("Object contains unknown field `%(name)s`"),
        gettext_noop("Object contains unknown field `%(name)s` - at `%(field)s`"),
    ),
    (
        re.compile(r"Object missing required field `(?P<name>.*)`"),
        gettext_noop("Object missing required field `%(name)s`"),
        gettext_noop("Object missing required field `%(name)s` - at `%(field)s`"),
    ),
    (
        re.compile(r"Expected `(?P<expected>[^`]*)`, got `(?P<got>[^`]*)`"),
        gettext_noop("Expected `%(expected)s`, got `%(got)s`"),
        gettext_noop("Expected `%(expected)s`, got `%(got)s` - at `%(field)s`"),
    ),
    (
        re.compile(r"Expected `(?P<expected>[^`]*)` (?P<limit>\S.*)", re.DOTALL),
        gettext_noop("Expected `%(expected)s` %(limit)s"),
        gettext_noop("Expected `%(expected)s` %(limit)s - at `%(field)s`"),
    ),
    (
        re.compile(r"Invalid RFC3339 encoded datetime"),
        gettext_noop("Invalid RFC3339 encoded datetime"),
        gettext_noop("Invalid RFC3339 encoded datetime - at `%(field)s`"),
    ),
    (
        re.compile(r"Invalid enum value (?P<given>.*)", re.DOTALL),
        gettext_noop("Invalid enum value %(given)s"),
        gettext_noop("Invalid enum value %(given)s - at `%(field)s`"),
    ),
)


def fault(text: str) -> TaskCenterError:
    """400 for an unknown field or no object at all, 422 with the field's path for the rest."""
    message, _, path = text.partition(" - at `$")
    field = path.rstrip("`").lstrip(".") or None
    if field is None and message.startswith("Expected `object`"):
        return Malformed("The body must be a JSON object")
    template, details = _known(message, text, field)
    if field is not None:
        details["field"] = field
    unknown = message.startswith("Object contains unknown field")
    return (Malformed if unknown else Invalid)(template, **details)


def _known(message: str, text: str, field: str | None) -> tuple[str, dict[str, object]]:
    for pattern, whole, at_field in _KNOWN:
        found = pattern.fullmatch(message)
        if found:
            return (whole if field is None else at_field), dict(found.groupdict())
    return text, {}
