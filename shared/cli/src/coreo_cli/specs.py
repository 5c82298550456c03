"""What plans are made of, from options and to words."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from coreo_cli.errors import UsageMistakeError
from coreo_cli.text import Json, plain
from coreo_cli.words import plural, span, span_seconds


@dataclass(frozen=True)
class ScheduleWish:
    """What the options say about the schedule; None is what was not said."""

    cron: str | None
    every: str | None
    time_zone: str | None
    jitter: str | None
    missed: str | None

    @property
    def is_empty(self) -> bool:
        """Whether nothing was said."""
        return self == ScheduleWish(None, None, None, None, None)

    def over(self, present: Json | None) -> Json | None:
        """The schedule with the wish laid over the present one. Raises UsageMistakeError."""
        if self.cron is not None and self.every is not None:
            raise UsageMistakeError("--cron and --every exclude each other.", next_step="Give one of them.")
        schedule = {name: value for name, value in (present or {}).items() if value is not None}
        if self.cron is not None:
            schedule = _without(schedule, "rate_seconds") | {"cron": self.cron}
        if self.every is not None:
            schedule = _without(schedule, "cron") | {"rate_seconds": _seconds("--every", self.every)}
        more: Json = {
            "time_zone": self.time_zone,
            "jitter_seconds": None if self.jitter is None else _seconds("--jitter", self.jitter),
            "missed": self.missed,
        }
        said = {name: value for name, value in more.items() if value is not None}
        if said and not schedule:
            raise UsageMistakeError(
                "--time-zone, --jitter and --missed are about a schedule, and there is none.",
                next_step="Give --cron or --every too.",
            )
        return (schedule | said) or None


def parameters_of(options: Sequence[str]) -> Json:
    """Rule id -> parameter -> value, of options `RULE.PARAMETER=VALUE`. Raises UsageMistakeError."""
    parameters: dict[str, dict[str, Any]] = {}
    for option in options:
        key, equals, value = option.partition("=")
        rule, dot, name = key.strip().partition(".")
        if not (equals and dot and rule and name):
            raise UsageMistakeError(
                "--param is written RULE.PARAMETER=VALUE, such as iam-password-policy-length.min_length=16.",
                next_step="`coreo rules parameters` shows them. RULE may be *: every rule that has the parameter.",
            )
        if name in parameters.setdefault(rule, {}):
            raise UsageMistakeError(f"--param {plain(key)} is there twice.", next_step="Give it once.")
        parameters[rule][name] = _value(value)
    return parameters


def schedule_words(plan: Json) -> str:
    """When a plan runs."""
    schedule = plan["schedule"]
    if schedule is None:
        return "when asked to"
    if schedule["cron"] is not None:
        words = f"{schedule['cron']} {schedule['time_zone']}"
    else:
        words = f"every {span(schedule['rate_seconds'])}"
    if schedule["jitter_seconds"]:
        words += f", up to {span(schedule['jitter_seconds'])} later"
    return words


def rule_words(spec: Json) -> str:
    """What a plan looks for."""
    parts = list(spec["rule_sets"])
    if spec["rules"]:
        parts.append(plural(len(spec["rules"]), "rule"))
    parts += spec.get("rule_packs", [])
    return ", ".join(parts)


def _value(text: str) -> Any:
    """JSON where it is that (60, true, ["a"], "60"), else the text itself."""
    try:
        return json.loads(text, parse_constant=lambda constant: constant)
    except (ValueError, RecursionError):
        return text


def _seconds(option: str, text: str) -> int:
    try:
        return span_seconds(text)
    except ValueError as error:
        raise UsageMistakeError(f"{option}: {error}.") from None


def _without(schedule: Json, name: str) -> Json:
    return {key: value for key, value in schedule.items() if key != name}
