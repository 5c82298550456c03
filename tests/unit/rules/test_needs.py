"""What rules need, statically: fields to enrichments to calls to IAM actions, and nothing besides."""

import pytest

from coreo_shared.catalogue import load_catalogue
from coreo_shared.rules.errors import DefinitionError
from coreo_shared.rules.model import ResourceTypeDefinition
from coreo_shared.rules.needs import needs_of
from coreo_shared.rules.resources import define_resource_type, order_enrichments
from coreo_shared.rules.shapes import Operation, Shapes, Snapshot

CATALOGUE = load_catalogue()


def test_only_the_calls_of_the_chosen_rules() -> None:
    needs = needs_of(CATALOGUE, ["s3-bucket-versioning"])

    assert set(needs.types) == {"aws.s3.bucket"}
    assert set(needs.types["aws.s3.bucket"].enrichments) == {"Location", "Versioning"}
    assert needs.actions == {"s3:ListAllMyBuckets", "s3:GetBucketLocation", "s3:GetBucketVersioning"}


def test_fields_of_conditions_evidence_and_message_all_count() -> None:
    needs = needs_of(CATALOGUE, ["iam-user-console-mfa"])

    assert needs.types["aws.iam.user"].enrichments == ("LoginProfile", "MFADevices")


def test_shared_facts_are_needed_once() -> None:
    one = needs_of(CATALOGUE, ["s3-bucket-policy-public"]).types["aws.s3.bucket"]
    both = needs_of(CATALOGUE, ["s3-bucket-policy-public", "s3-bucket-plain-http", "s3-bucket-policy-public"])

    assert both.types["aws.s3.bucket"].enrichments == one.enrichments
    assert both.types["aws.s3.bucket"].rules == ("s3-bucket-plain-http", "s3-bucket-policy-public")


def test_enrichment_of_elements_is_read_only_when_asked_for() -> None:
    rotation = needs_of(CATALOGUE, ["iam-user-key-rotation"])
    unused = needs_of(CATALOGUE, ["iam-user-key-unused"])

    assert rotation.types["aws.iam.user"].enrichments == ("AccessKeys",)
    assert unused.types["aws.iam.user"].enrichments == ("AccessKeys", "LastUsed")
    assert unused.actions - rotation.actions == {"iam:GetAccessKeyLastUsed"}


def test_what_is_looked_up_by_key_is_read_of_what_is_found_alone() -> None:
    needs = needs_of(CATALOGUE, ["cloudtrail-bucket-access-logging"])
    bucket, trail = needs.types["aws.s3.bucket"], needs.types["aws.cloudtrail.trail"]

    assert (bucket.rules, bucket.is_related) == ((), True)
    assert (bucket.enrichments, bucket.looked_up) == (("Location",), ("Logging",))
    assert (trail.waits_for, trail.is_related) == (frozenset(), False)
    assert {(lookup.their_field, str(lookup.path)) for lookup in trail.lookups} == {("Name", "S3BucketName")}
    assert "s3:GetBucketLogging" in needs.actions


def test_what_a_rule_of_the_type_itself_reads_is_read_of_all() -> None:
    needs = needs_of(CATALOGUE, ["cloudtrail-bucket-access-logging", "s3-bucket-access-logging"])

    assert needs.types["aws.s3.bucket"].looked_up == ()
    assert set(needs.types["aws.s3.bucket"].enrichments) == {"Location", "Logging"}


def test_all_items_are_listed_where_any_of_them_will_do() -> None:
    needs = needs_of(CATALOGUE, ["cloudtrail-missing"])

    assert needs.types["aws.cloudtrail.account"].waits_for == {"aws.cloudtrail.trail"}
    assert set(needs.types["aws.cloudtrail.trail"].enrichments) == {"Status", "Selectors"}


def test_what_is_referred_to_may_refer_on() -> None:
    """A trail to its log group, that to its metric filters, and these to the alarms."""
    lookups = needs_of(CATALOGUE, ["alarm-root-use"]).types["aws.logs.account"].lookups

    assert {(lookup.source, str(lookup.path), lookup.resource_type) for lookup in lookups} == {
        ("aws.cloudtrail.trail", "CloudWatchLogsLogGroupArn", "aws.logs.log_group"),
        ("aws.logs.log_group", "logGroupName", "aws.logs.metric_filter"),
        ("aws.logs.metric_filter", "metricTransformations[].metricName", "aws.cloudwatch.alarm"),
    }


def test_functions_bring_their_own_relations() -> None:
    needs = needs_of(CATALOGUE, ["ec2-security-group-open-ssh"])
    [lookup] = needs.types["aws.ec2.security_group"].lookups

    assert needs.types["aws.ec2.prefix_list"].looked_up == ("Entries",)
    assert needs.types["aws.ec2.security_group"].waits_for == frozenset()
    assert str(lookup.path) == "IpPermissions[].PrefixListIds[].PrefixListId"
    assert "ec2:GetManagedPrefixListEntries" in needs.actions


def test_account_wide_type_without_fields_takes_no_call() -> None:
    needs = needs_of(CATALOGUE, ["cloudtrail-missing"])

    assert needs.types["aws.cloudtrail.account"].actions == frozenset()
    assert needs.actions == {"cloudtrail:DescribeTrails", "cloudtrail:GetTrailStatus", "cloudtrail:GetEventSelectors"}


def test_nothing_chosen_needs_nothing() -> None:
    assert needs_of(CATALOGUE, []).types == {}
    assert needs_of(CATALOGUE, []).actions == frozenset()


_SNAPSHOT = Snapshot(
    operations={
        "svc.list_things": Operation("ListThings", "svc.Things", {"Filter": "string"}, [], paginated=True),
        "svc.get_thing": Operation("GetThing", "svc.Thing", {"Id": "string", "Code": "string"}, ["Id"]),
    },
    structures={
        "svc.Things": {"Things": "[svc.Thing]", "Names": "[string]"},
        "svc.Thing": {"Id": "string", "Code": "string", "Parts": "[svc.Part]"},
        "svc.Part": {"Id": "string"},
    },
    enums={},
)


def _resource(**changes: object) -> dict[str, object]:
    return {
        "type": "svc.thing",
        "title": "Thing",
        "service": "svc",
        "scope": "region",
        "list": {"operation": "list_things", "items": "Things[]"},
        "key": {"id": "{Id}"},
    } | changes


def _define(raw: dict[str, object]) -> tuple[str, ...]:
    import msgspec  # noqa: PLC0415  only here

    made = define_resource_type(msgspec.convert(raw, ResourceTypeDefinition), Shapes(_SNAPSHOT), ())
    return order_enrichments(made, made.enrichments)


def test_enrichments_come_after_what_they_read() -> None:
    call = {"operation": "get_thing", "take": "Code"}
    enrich = {
        "A": call | {"params": {"Id": "{B}"}},
        "B": call | {"params": {"Id": "{Id}"}, "when": {"C": {"absent": False}}},
        "C": call | {"params": {"Id": "{Id}"}},
        "Deep": call | {"params": {"Id": "{Id}"}, "each": "Parts"},
    }

    assert _define(_resource(enrich=enrich)) == ("C", "B", "A", "Deep")


@pytest.mark.parametrize(
    ("changes", "place", "problem"),
    [
        ({"list": {"operation": "list_thing", "items": "Things[]"}}, "list.operation", "did you mean list_things?"),
        ({"list": {"operation": "list_things", "items": "Thing[]"}}, "list.items", "did you mean Things?"),
        ({"list": {"operation": "list_things", "items": "Names[]"}}, "list.items", "must lead to structures"),
        ({"list": {"operation": "list_things", "items": "Things"}}, "list.items", "must lead to structures"),
        ({"list": {"operation": "get_thing", "items": "Parts[]"}}, "list.params", "GetThing needs the parameter Id"),
        (
            {"list": {"operation": "get_thing", "items": "Parts[]", "params": {"Id": "x"}, "page_size": 5}},
            "list.page_size",
            "has no pages",
        ),
        (
            {"list": {"operation": "list_things", "items": "Things[]", "params": {"Filtr": "x"}}},
            "list.params.Filtr",
            "did you mean Filter?",
        ),
        (
            {"list": {"operation": "list_things", "items": "Things[]", "params": {"Filter": "{Id}"}}},
            "list.params.Filter",
            "no item to take fields from",
        ),
        ({"key": {"id": "{Ids}"}}, "key.id", "did you mean Id?"),
        ({"key": {"id": "{Id}", "arn": "arn:{partitio}:{Id}"}}, "key.arn", "did you mean partition?"),
        ({"key": {"id": "{Id}", "region": ["Regio"]}}, "key.region.0", "no such field"),
        ({"policies": ["Cod"]}, "policies.0", "did you mean Code?"),
        ({"enrich": {"Code": {"operation": "get_thing", "params": {"Id": "{Id}"}}}}, "enrich.Code", "of this name"),
        ({"enrich": {"X": {"operation": "get_thing", "params": {"Id": "{I}"}}}}, "enrich.X.params.Id", "no such field"),
        (
            {"enrich": {"X": {"operation": "get_thing", "params": {"Id": "x"}, "take": "Cod"}}},
            "enrich.X.take",
            "did you mean Code?",
        ),
        (
            {"enrich": {"X": {"operation": "get_thing", "params": {"Id": "x"}, "take": "Parts", "holds": "policy"}}},
            "enrich.X.holds",
            "a policy is text",
        ),
        (
            {"enrich": {"X": {"operation": "get_thing", "params": {"Id": "x"}, "each": "Part"}}},
            "enrich.X",
            "did you mean Parts?",
        ),
        (
            {"enrich": {"X": {"operation": "get_thing", "params": {"Id": "x"}, "when": {"Cod": "a"}}}},
            "enrich.X.when",
            "did you mean Code?",
        ),
        (
            {"enrich": {"X": {"operation": "get_thing", "params": {"Id": "{X}"}, "take": "Code"}}},
            "enrich.X",
            "needs itself",
        ),
    ],
)
def test_resource_type_is_refused(changes: dict[str, object], place: str, problem: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        _define(_resource(**changes))

    assert str(caught.value).startswith(f"{place}: ")
    assert problem in caught.value.problem
