"""Resource types: what names an item, which unit judges it, and the parameters of calls."""

from typing import Any

import pytest

from coreo_shared.catalogue import load_catalogue
from coreo_shared.rules.model import Identity
from coreo_shared.rules.values import Unknown, fingerprint

TYPES = load_catalogue().resource_types
_AT = {"account": "111122223333", "partition": "aws"}


@pytest.mark.parametrize(
    ("name", "region", "item", "identity"),
    [
        (
            "aws.ec2.security_group",
            "eu-west-1",
            {"GroupId": "sg-1"},
            Identity("sg-1", "arn:aws:ec2:eu-west-1:111122223333:security-group/sg-1", "eu-west-1"),
        ),
        (
            "aws.s3.bucket",
            "global",
            {"Name": "data", "BucketRegion": "eu-west-1", "Location": None},
            Identity("data", "arn:aws:s3:::data", "eu-west-1"),
        ),
        (
            "aws.s3.bucket",
            "global",
            {"Name": "data", "Location": "EU"},
            Identity("data", "arn:aws:s3:::data", "eu-west-1"),
        ),
        (
            "aws.s3.bucket",
            "global",
            {"Name": "data", "Location": None},
            Identity("data", "arn:aws:s3:::data", "us-east-1"),
        ),
        (
            "aws.iam.account",
            "global",
            {"AccountId": "111122223333"},
            Identity("111122223333", "arn:aws:iam::111122223333:root", "global"),
        ),
        (
            "aws.cloudtrail.trail",
            "eu-west-1",
            {"Name": "t", "HomeRegion": "us-east-1", "TrailARN": "arn:t"},
            Identity("t", "arn:t", "us-east-1"),
        ),
        ("aws.ec2.prefix_list", "eu-west-1", {"PrefixListId": "pl-1"}, Identity("pl-1", None, "eu-west-1")),
    ],
)
def test_identity(name: str, region: str, item: dict[str, Any], identity: Identity) -> None:
    assert TYPES[name].identify(item, region=region, **_AT) == identity


def test_unreadable_region_of_a_bucket_is_not_taken_for_the_default() -> None:
    """GetBucketLocation denied: the bucket is somewhere, and us-east-1 would be a guess."""
    item = {"Name": "data", "Location": Unknown("denied")}

    assert TYPES["aws.s3.bucket"].identify(item, region="global", **_AT).region == "global"


@pytest.mark.parametrize(
    ("regions", "judged_in"),
    [
        (("eu-west-1", "us-east-1"), "us-east-1"),
        (("eu-west-1", "eu-central-1"), "eu-central-1"),
        (("eu-west-1",), "eu-west-1"),
    ],
)
def test_item_that_all_regions_list_is_judged_once(regions: tuple[str, ...], judged_in: str) -> None:
    trail = {"Name": "t", "HomeRegion": "us-east-1"}

    assert [r for r in regions if TYPES["aws.cloudtrail.trail"].belongs_to(trail, r, regions)] == [judged_in]


def test_other_items_belong_to_the_region_that_lists_them() -> None:
    assert TYPES["aws.ec2.volume"].belongs_to({"VolumeId": "vol-1"}, "eu-west-1", ("us-east-1", "eu-west-1"))


def test_arguments_of_calls_come_from_the_item() -> None:
    enrichments = TYPES["aws.s3.bucket"].enrichments
    context = {"account": "111122223333", "region": "eu-west-1", "partition": "aws"}

    assert enrichments["Policy"].call.arguments({"Name": "data"}, context) == {"Bucket": "data"}
    assert enrichments["Policy"].call.arguments({"Name": None}, context) == {}
    assert enrichments["Policy"].call.arguments({"Name": Unknown("x")}, context) == Unknown("x")


def test_constant_parameters_pass_as_they_are() -> None:
    listing = TYPES["aws.iam.user"].listing

    assert listing is not None
    assert listing.arguments({}, {}) == {"Filter": ["User"]}
    assert (listing.paginated, listing.page_size, listing.actions) == (
        True,
        100,
        ("iam:GetAccountAuthorizationDetails",),
    )


def test_actions_differ_from_operations_where_aws_says_so() -> None:
    bucket = TYPES["aws.s3.bucket"]

    assert bucket.listing is not None
    assert bucket.listing.actions == ("s3:ListAllMyBuckets",)
    assert bucket.enrichments["Encryption"].call.actions == ("s3:GetEncryptionConfiguration",)
    assert bucket.enrichments["Acl"].call.actions == ("s3:GetBucketAcl",)


def test_fingerprint_is_stable_and_tells_apart() -> None:
    one = fingerprint("111122223333", "s3-bucket-versioning", "arn:aws:s3:::data")

    assert one == "6b7342db18b673e9bd4c5c71a5138eb3"  # stored with findings: it may never change
    others = {
        fingerprint("111122223334", "s3-bucket-versioning", "arn:aws:s3:::data"),
        fingerprint("111122223333", "s3-bucket-unencrypted", "arn:aws:s3:::data"),
        fingerprint("111122223333", "s3-bucket-versioning", "arn:aws:s3:::data2"),
        fingerprint("111122223333s3", "-bucket-versioning", "arn:aws:s3:::data"),
    }
    assert len(others | {one}) == 5


@pytest.mark.parametrize(
    ("name", "item", "expected"),
    [
        (
            "aws.sqs.queue",
            {"QueueUrl": "https://sqs.eu-west-1.amazonaws.com/210987654321/orders"},
            ("orders", "arn:aws:sqs:eu-west-1:210987654321:orders"),
        ),
        (
            "aws.route53.hosted_zone",
            {"Id": "/hostedzone/Z1", "Name": "example.com."},
            ("example.com.", "arn:aws:route53:::hostedzone/Z1"),
        ),
    ],
)
def test_names_that_are_parts_of_others_are_taken_out_of_them(
    name: str, item: dict[str, Any], expected: tuple[str, str]
) -> None:
    kind = load_catalogue().resource_types[name]
    found = kind.identify(item, account="210987654321", region="eu-west-1", partition="aws")
    assert (found.id, found.arn) == expected
