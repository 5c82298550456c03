"""Calls that several places of a plan make alike: they are made once, and each place has the answer."""

import asyncio
import copy
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from coreo_shared.rules.model import Call, is_filled
from coreo_shared.rules.needs import Needs
from coreo_worker.audit.enrichments import steps_of
from coreo_worker.aws.calls import CallError


class Asks(Protocol):
    """Who gets answers from AWS."""

    async def ask(self, made: Call, region: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """One page of the answer. Raises CallError, SessionExpiredError."""


@dataclass
class _Answer:
    """What a call gave, once it is there, and how many places are still to have it."""

    wanted: int
    there: asyncio.Event = field(default_factory=asyncio.Event)
    page: dict[str, Any] | None = None
    error: CallError | None = None


class SharedAsker:
    """Asks for several resource types. Answers are kept only where another place asks the same, and until it has."""

    def __init__(self, asker: Asks, needs: Needs) -> None:
        self._asker = asker
        self._places = _places(needs)
        self._answers: dict[tuple[object, ...], _Answer] = {}

    async def ask(self, made: Call, region: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """As the port says. Each place may put into the answer what it likes."""
        places = self._places[_name(made)]
        if places < 2:
            return await self._asker.ask(made, region, arguments)
        key = (_name(made), region, json.dumps(arguments, sort_keys=True, default=str))
        answer = self._answers.get(key)
        if answer is None:
            answer = self._answers[key] = _Answer(wanted=places)
            try:
                answer.page = await self._asker.ask(made, region, arguments)
            except CallError as error:
                answer.error = error
            answer.there.set()
        await answer.there.wait()
        answer.wanted -= 1
        if answer.wanted == 0:
            del self._answers[key]
        if answer.page is None:
            raise answer.error or TypeError("a call without an outcome")
        return copy.deepcopy(answer.page)


def _name(made: Call) -> tuple[object, ...]:
    """What calls must have in common to be one: how an error is read counts too, and what is always asked alike.

    So listings of users and of roles by the same operation are two calls, and no answer waits for the other's place.
    """
    return made.service, made.operation, made.actions, made.absent_on, _constants(made)


def _constants(made: Call) -> str:
    """The parameters that are the same for every item; of the others, that they are there."""
    fixed = {name: "…" if is_filled(given) else given for name, given in made.params}
    return json.dumps(fixed, sort_keys=True, default=str)


def _places(needs: Needs) -> Counter[tuple[object, ...]]:
    """How many places make calls of this name."""
    places: Counter[tuple[object, ...]] = Counter()
    for of_type in needs.types.values():
        kind = of_type.resource_type
        if kind.listing is not None:
            places[_name(kind.listing)] += 1
        for fields in (of_type.enrichments, of_type.looked_up):
            places.update(_name(step.call) for stage in steps_of(kind, fields) for step in stage)
    return places
