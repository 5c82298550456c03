"""What a suppression or an override must be beyond its types. Messages name fields, never values."""

import re
from datetime import UTC, datetime, timedelta

from msgspec import UNSET, UnsetType

from coreo_results.bodies import check_text
from coreo_shared.contracts.decisions import MAX_LIFETIME_DAYS, MAX_PATTERN, MAX_REASON
from coreo_shared.web.problems import invalid

_RULE_PATTERN = re.compile(r"[A-Za-z0-9_.*-]{1,128}", re.ASCII)
_REGION = re.compile(r"[a-z0-9-]{1,32}", re.ASCII)
_MAX_AUTHOR = 100
Maybe = str | UnsetType | None


def check_matchers(rule_id: Maybe, resource: Maybe, tag: Maybe, region: Maybe) -> None:
    """Refuses patterns that are no patterns; what is not given is not looked at. Raises a 422 Problem."""
    if isinstance(rule_id, str) and not _RULE_PATTERN.fullmatch(rule_id):
        raise invalid("body.rule_id", "expected a rule's id, in which * stands for any text")
    if isinstance(resource, str):
        check_text("body.resource", resource, MAX_PATTERN)
        if not resource.strip("*"):
            raise invalid("body.resource", "fits every resource: leave it out, or say which")
    if isinstance(tag, str):
        check_text("body.tag", tag, MAX_PATTERN)
        if not tag.partition("=")[0] or "=" not in tag:
            raise invalid("body.tag", "expected key=value")
    if isinstance(region, str) and not _REGION.fullmatch(region):
        raise invalid("body.region", 'expected a region name, or "global"')


def check_narrow(rule_id: str | None, resource: str | None, tag: str | None) -> None:
    """Refuses what would suppress everything. Raises a 422 Problem."""
    if (rule_id is None or not rule_id.strip("*")) and resource is None and tag is None:
        raise invalid("body.rule_id", "say which rule, resource or tag: this would suppress everything")


def check_words(reason: str | UnsetType, author: str) -> None:
    """Raises a 422 Problem for a reason or an author that nobody can read."""
    if not isinstance(reason, UnsetType):
        check_text("body.reason", reason, MAX_REASON)
        if not reason.strip():
            raise invalid("body.reason", "say why")
    check_text("body.author", author, _MAX_AUTHOR)


def check_expiry(expires_at: datetime | UnsetType | None, *, field: str = "body.expires_at") -> None:
    """Raises a 422 Problem for a time that has passed or is too far away."""
    if expires_at is None or expires_at is UNSET:
        return
    now = datetime.now(UTC)
    if expires_at <= now:
        raise invalid(field, "expected a time in the future")
    if expires_at > now + timedelta(days=MAX_LIFETIME_DAYS):
        raise invalid(field, "expected a time at most two years from now; leave it out for one that does not expire")
