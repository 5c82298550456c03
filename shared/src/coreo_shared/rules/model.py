"""Rules and resource types: their schema as written in YAML, and what is made of them once checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from coreo_shared.contracts.terms import Severity
from coreo_shared.rules.arguments import Parameter
from coreo_shared.rules.conditions import Lookup, Node, Read
from coreo_shared.rules.paths import FieldPath
from coreo_shared.rules.templates import Hole, Template, fill
from coreo_shared.rules.values import Item, Unknown

Scope = Literal["global", "region"]
GLOBAL = "global"


class _Definition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of what is written in YAML: no unknown keys."""


class CallDefinition(_Definition, frozen=True, kw_only=True):
    """A call. `params` are texts with placeholders, constants, or lists and maps of these.

    `iam` where the action is not service:Operation. `absent_on`: error codes by which the API says "there is none"
    (for an enrichment null, for a list no items), alone or as `Code: words in the message`.
    """

    operation: str
    service: str | None = None  # when not the resource type's
    params: dict[str, Any] = {}
    iam: list[str] | None = None
    absent_on: list[str] = []


class ListDefinition(CallDefinition, frozen=True, kw_only=True):
    """The call that lists a type's items, page by page. `items`: the path to them in the answer.

    `as` names the field that each scalar becomes. `for_each`: the call is made for each item of that other type, which
    the listed ones hold in `Parent`.
    """

    items: str
    page_size: int | None = None
    scalar: str | None = msgspec.field(default=None, name="as")
    for_each: str | None = None


class PrepareDefinition(_Definition, frozen=True, kw_only=True):
    """What makes AWS prepare an answer: the operation to call, and the error codes that say it is not ready."""

    operation: str
    on: list[str]


class EnrichmentDefinition(CallDefinition, frozen=True, kw_only=True):
    """A field that takes a call of its own for each item (or, with `each`, for each element of a list of the item)."""

    take: str | None = None  # the path in the answer; the whole answer without it
    scalar: str | None = msgspec.field(default=None, name="as")  # the field that each scalar of a list becomes
    csv: list[str] | None = None  # the columns to keep of a CSV text: a list of structures of strings
    prepare: PrepareDefinition | None = None
    when: Any = None  # a condition on the listed fields; where it is false the field is null and no call is made
    each: str | None = None
    holds: Literal["policy"] | None = None  # the text is an IAM policy document


class KeyDefinition(_Definition, frozen=True, kw_only=True):
    """What names an item. `region`: fields that tell it, the first that has a value; `home`: see `belongs_to`."""

    id: str
    arn: str | None = None
    region: list[str] = []
    region_names: dict[str, str] = {}  # what a field says -> the region's name
    default_region: str | None = None  # when no field has a value
    home: bool = False


class ResourceTypeDefinition(_Definition, frozen=True, kw_only=True):
    """How to read one kind of resource. Without `list` there is one item for the account (and region)."""

    type: str
    title: str
    service: str
    scope: Scope
    listing: ListDefinition | None = msgspec.field(default=None, name="list")
    key: KeyDefinition
    asked_in: str | None = None  # the region of a global service that does not answer in the partition's home
    policies: list[str] = []  # listed fields, by path, that hold IAM policy documents
    enrich: dict[str, EnrichmentDefinition] = {}


class Remediation(_Definition, frozen=True, kw_only=True):
    """How to put it right: in the console, with the AWS command line, in a CloudFormation template."""

    console: str
    cli: str | None = None
    cloudformation: str | None = None


class RuleDefinition(_Definition, frozen=True, kw_only=True):
    """A rule as written. `title` says what should hold, `message` what is wrong with an item that fails."""

    id: str
    title: str
    resource: str
    severity: Severity
    rationale: str
    remediation: Remediation
    references: list[str] = []
    controls: dict[str, list[str]] = {}  # framework -> control ids
    objectives: list[str] = []  # what it serves, in the catalogue's own words
    aliases: list[str] = []  # prowler:<check>, securityhub:<control>
    parameters: dict[str, Parameter] = {}
    applies_when: Any = None
    fail_when: Any
    evidence: list[str] = []
    message: str


class RuleSetDefinition(_Definition, frozen=True, kw_only=True):
    """A named choice of rules: those listed, and those mapped to a control framework."""

    id: str
    title: str
    description: str
    framework: str | None = None
    rules: list[str] = []


@dataclass(frozen=True, slots=True)
class Call:
    """An SDK call: `client(service).operation(**arguments(...))`, in pages when `paginated`."""

    service: str
    operation: str
    params: tuple[tuple[str, Any], ...]  # constants, Templates, and lists and maps of these
    actions: tuple[str, ...]
    paginated: bool
    page_size: int | None = None
    absent_on: frozenset[str] = frozenset()

    def arguments(self, value: Item, context: Mapping[str, str]) -> dict[str, Any] | Unknown:
        """The call's parameters for an item or element; Unknown when a value for them is.

        `context` has account, region and partition. A parameter without a value is left out.
        """
        arguments: dict[str, Any] = {}
        for name, given in self.params:
            filled = _fill(given, value, context)
            if isinstance(filled, Unknown):
                return filled
            if filled is not None:
                arguments[name] = filled
        return arguments


def is_filled(given: Any) -> bool:
    """Whether a parameter, or a part of it, has a place for something of the item or the context."""
    if isinstance(given, Template):
        return any(isinstance(part, Hole) for part in given.parts)
    parts = given.values() if isinstance(given, dict) else given if isinstance(given, list) else ()
    return any(is_filled(part) for part in parts)


def _fill(given: Any, value: Item, context: Mapping[str, str]) -> Any:
    if isinstance(given, Template):
        return fill(given, value, context)
    if not isinstance(given, list | dict):
        return given
    parts = [_fill(part, value, context) for part in (given.values() if isinstance(given, dict) else given)]
    unknown = next((part for part in parts if isinstance(part, Unknown)), None)
    if unknown is not None:
        return unknown
    if isinstance(given, dict):
        return {name: part for name, part in zip(given, parts, strict=True) if part is not None}
    return [part for part in parts if part is not None]


@dataclass(frozen=True, slots=True)
class Preparation:
    """What makes AWS prepare an answer, and the error codes that say it is not ready."""

    call: Call
    codes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Enrichment:
    """A field `name` to be put into the item, or into each element of the item's list `each`."""

    name: str
    call: Call
    take: FieldPath | None
    when: Node | None
    each: str | None
    after: frozenset[str]  # enrichments that this one's parameters and condition read
    scalar: str | None = None
    columns: tuple[str, ...] = ()
    prepare: Preparation | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """What names an item in findings; `region` is "global" where it has none."""

    id: str
    arn: str | None
    region: str


@dataclass(frozen=True, slots=True)
class ResourceType:
    """How to read one kind of resource, checked."""

    name: str
    title: str
    service: str
    scope: Scope
    listing: Call | None  # None: one item {"AccountId", "Region"} for the account (and region)
    items: FieldPath | None
    scalar: str | None  # the field that each listed scalar becomes
    parent: str | None  # the type for each of whose items the listing is made
    asked_in: str | None
    key: KeyDefinition
    id_template: Template
    arn_template: Template | None
    enrichments: Mapping[str, Enrichment]
    key_enrichments: frozenset[str]  # enrichments that tell the region

    def identify(self, item: Item, *, account: str, region: str, partition: str) -> Identity:
        """Id, ARN and region of an item that `region` ("global" for global types) listed."""
        where = self._region_of(item) or region
        context = {"account": account, "region": where, "partition": partition}
        arn = None if self.arn_template is None else fill(self.arn_template, item, context)
        return Identity(str(fill(self.id_template, item, context)), arn if isinstance(arn, str) else None, where)

    def _region_of(self, item: Item) -> str | None:
        for name in self.key.region:
            value = item.get(name)
            if isinstance(value, Unknown):
                return None  # a default would be a guess
            if isinstance(value, str) and value:
                return self.key.region_names.get(value, value)
        return self.key.default_region

    def belongs_to(self, item: Item, region: str, regions: tuple[str, ...]) -> bool:
        """Whether the unit of `region` is the one to judge this item, which several regions may list.

        That is the item's home region or, when the run leaves that one out, the first region of the run.
        """
        if not self.key.home:
            return True
        home = self._region_of(item) or region
        return region == (home if home in regions else min(regions))


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule, checked. `definition` is what was written."""

    definition: RuleDefinition
    applies: Node | None
    fails: Node
    evidence: tuple[FieldPath, ...]
    message: Template
    reads: frozenset[Read]
    relations: frozenset[str]  # resource types it looks at beside its own
    compared: frozenset[str]  # those of them of which it looks at all items
    lookups: frozenset[Lookup]
    looked_up: frozenset[Read]  # what is read of items that are looked up alone
    pattern_parameters: frozenset[str]

    @property
    def id(self) -> str:
        """The stable id."""
        return self.definition.id

    @property
    def title(self) -> str:
        """What should hold."""
        return self.definition.title

    @property
    def resource(self) -> str:
        """The resource type it judges."""
        return self.definition.resource

    @property
    def severity(self) -> Severity:
        """How bad a FAIL is."""
        return self.definition.severity

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """What a plan may set."""
        return self.definition.parameters
