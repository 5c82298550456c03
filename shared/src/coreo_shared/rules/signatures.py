"""What a function of the rule language takes: fields of the item and values, and how they are checked."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from coreo_shared.rules.errors import DefinitionError, Path
from coreo_shared.rules.operators import ArgumentKind, Judgement, Run
from coreo_shared.rules.shapes import FieldType, Shapes
from coreo_shared.rules.values import Unknown

Bound = Mapping[str, Any]  # argument values; for field arguments, what the field holds


@dataclass(frozen=True, slots=True)
class FunctionArgument:
    """A field (`kind`, and the members that it or its elements must have) or a value (its argument kind, its choices).

    `form` is what a value's texts look like, `relations` the fields of other types that are read where it is given.
    """

    kind: str = ""
    members: tuple[str, ...] = ()
    value: ArgumentKind | None = None
    choices: frozenset[str] = frozenset()
    form: re.Pattern[str] | None = None
    optional: bool = False
    relations: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def check(self, shapes: Shapes, given: FieldType, path: Path) -> None:
        """DefinitionError when the field does not fit."""
        if given.kind != self.kind:
            raise DefinitionError(f"needs a {self.kind}, and this is {given}", path)
        if self.members:
            element = shapes.type_of(given.of) if given.kind == "list" else given
            if element.kind != "structure" or not set(self.members) <= shapes.members(element.name).keys():
                of = "a list of structures" if given.kind == "list" else "a structure"
                raise DefinitionError(f"needs {of} with {', '.join(self.members)}", path)

    def check_value(self, raw: Any, path: Path) -> None:
        """DefinitionError when a text of the value does not have the form; a parameter's values are the plan's."""
        texts = raw if isinstance(raw, list) else [raw]
        if self.form is not None and not all(self.form.fullmatch(text) for text in texts if isinstance(text, str)):
            raise DefinitionError("not of the form service:Name", path)


@dataclass(frozen=True, slots=True)
class Reference:
    """What a function looks up, in the item's region: items whose field `theirs` is among `ours`, within an argument.

    `reads` are the fields that it reads of them.
    """

    resource_type: str
    theirs: str
    ours: str
    reads: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Function:
    """A function: its arguments, the fields it reads of all items of other types or by reference, and the judgement."""

    arguments: Mapping[str, FunctionArgument]
    judge: Callable[[Bound, Run], Judgement | frozenset[Unknown]]
    relations: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    references: Mapping[str, Reference] = field(default_factory=dict)  # by argument
    alternatives: frozenset[str] = frozenset()  # arguments of which at most one may be given
    usually: tuple[str, str] | None = None  # Python, with {arguments}: where the first holds, the second is the answer
