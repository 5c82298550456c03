"""The further calls that an item needs: whether, in which order, and what their answers leave in it."""

from dataclasses import replace
from typing import Any

from coreo_shared.catalogue import load_catalogue
from coreo_shared.rules.model import ResourceType
from coreo_shared.rules.values import Unknown
from coreo_worker.audit.enrichments import Step, steps_of

BUCKET = load_catalogue().resource_types["aws.s3.bucket"]
USER = load_catalogue().resource_types["aws.iam.user"]
DENIED = Unknown("denied", ("s3:GetBucketLocation",))


def step(kind: ResourceType, *fields: str) -> Step:
    """The step that fills the last of these fields."""
    operation = kind.enrichments[fields[-1]].call.operation
    return next(one for stage in steps_of(kind, fields) for one in stage if one.call.operation == operation)


def test_what_tells_the_region_comes_before_what_needs_it() -> None:
    stages = steps_of(BUCKET, ["Versioning", "Location", "Acl"])
    assert [sorted(one.call.operation for one in stage) for stage in stages] == [
        ["get_bucket_location"],
        ["get_bucket_acl", "get_bucket_versioning"],
    ]


def test_the_elements_of_a_list_come_after_the_list() -> None:
    stages = steps_of(USER, ["LastUsed", "AccessKeys", "MFADevices"])
    assert [sorted(one.call.operation for one in stage) for stage in stages] == [
        ["list_access_keys", "list_mfa_devices"],
        ["get_access_key_last_used"],
    ]


def test_a_list_goes_on_over_several_pages() -> None:
    item: dict[str, Any] = {}
    step(USER, "AccessKeys").put(item, [{"AccessKeyMetadata": [1, 2]}, {"AccessKeyMetadata": [3]}, {}])
    assert item == {"AccessKeys": [1, 2, 3]}


def test_absence_is_null_and_a_refusal_is_unknown() -> None:
    absent: dict[str, Any] = {}
    denied: dict[str, Any] = {}
    step(BUCKET, "Location", "Policy").put(absent, None)
    step(BUCKET, "Location", "Policy").put(denied, DENIED)
    assert (absent, denied) == ({"Policy": None}, {"Policy": DENIED})


def test_a_list_that_could_not_be_read_has_no_elements_to_ask_about() -> None:
    of_keys = step(USER, "AccessKeys", "LastUsed")
    assert of_keys.owners({"AccessKeys": DENIED}) == []
    assert of_keys.owners({"AccessKeys": None}) == []
    assert of_keys.owners({"AccessKeys": [{"AccessKeyId": "a"}]}) == [{"AccessKeyId": "a"}]


def test_a_call_is_made_only_where_its_condition_holds() -> None:
    location = step(BUCKET, "Location")
    assert location.wanted({"Name": "b"}) is True
    assert location.wanted({"Name": "b", "BucketRegion": "eu-west-1"}) is False


def test_a_condition_on_something_unknown_leaves_the_fact_unknown() -> None:
    undecided = replace(step(BUCKET, "Location"), _when=lambda _item, _run: frozenset({DENIED}))
    assert undecided.wanted({"Name": "b"}) == DENIED
