"""Role ARNs: what is taken, and that each refusal says why without repeating the ARN."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coreo_api.accounts.arns import RoleArn, RoleArnError, parse_role_arn


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("arn:aws:iam::210987654321:role/CoreoAudit", RoleArn("aws", "210987654321", "/", "CoreoAudit")),
        ("arn:aws:iam::000000000001:role/a", RoleArn("aws", "000000000001", "/", "a")),
        ("arn:aws:iam::210987654321:role/x/y/Na_me+=,.@-1", RoleArn("aws", "210987654321", "/x/y/", "Na_me+=,.@-1")),
        ("arn:aws:iam::210987654321:role/p:q/R", RoleArn("aws", "210987654321", "/p:q/", "R")),
    ],
)
def test_role_arns_are_taken_apart(text: str, parts: RoleArn) -> None:
    assert parse_role_arn(text, partition="aws") == parts


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not an ARN"),
        ("CoreoAudit", "not an ARN"),
        ("210987654321", "not an ARN"),
        ("ARN:aws:iam::210987654321:role/R", "not an ARN"),
        ("arn:aws:iam::210987654321", "not an ARN"),
        ("arn:aws-cn:iam::210987654321:role/R", "not in the partition aws"),
        ("arn::iam::210987654321:role/R", "not in the partition aws"),
        ("arn:aws:s3::210987654321:role/R", "not an IAM ARN"),
        ("arn:aws:sts::210987654321:assumed-role/R/session", "session of a role"),
        ("arn:aws:iam:us-east-1:210987654321:role/R", "IAM is global"),
        ("arn:aws:iam::21098765432:role/R", "12 digits"),
        ("arn:aws:iam::2109876543210:role/R", "12 digits"),
        ("arn:aws:iam:::role/R", "12 digits"),
        ("arn:aws:iam::*:role/R", "12 digits"),
        ("arn:aws:iam::21098765432a:role/R", "12 digits"),
        ("arn:aws:iam::٢١٠٩٨٧٦٥٤٣٢١:role/R", "beyond ASCII"),
        ("arn:aws:iam::210987654321:user/U", "not a role"),
        ("arn:aws:iam::210987654321:root", "not a role"),
        ("arn:aws:iam::210987654321:role", "not a role"),
        ("arn:aws:iam::210987654321:Role/R", "not a role"),
        ("arn:aws:iam::210987654321:role/", "1 to 64"),
        ("arn:aws:iam::210987654321:role/x/", "1 to 64"),
        ("arn:aws:iam::210987654321:role/*", "1 to 64"),
        ("arn:aws:iam::210987654321:role/" + "r" * 65, "1 to 64"),
        ("arn:aws:iam::210987654321:role//R", "path"),
        ("arn:aws:iam::210987654321:role/" + "p" * 511 + "/R", "path"),
        ("arn:aws:iam::210987654321:role/R\n", "line ends"),
        ("arn:aws:iam::210987654321:role/R ", "spaces"),
        (" arn:aws:iam::210987654321:role/R", "spaces"),
        ("arn:aws:iam::210987654321:role/R\x00", "1 to 64"),
        ("arn:aws:iam::210987654321:role/\x7f/R", "path"),
        ("arn:aws:iam::210987654321:role/Rö", "beyond ASCII"),
        ("arn:aws:iam::210987654321:role/" + "p/" * 2000, "longer than 2048"),
    ],
)
def test_what_is_no_role_arn_is_refused_in_plain_words(text: str, says: str) -> None:
    with pytest.raises(RoleArnError, match=says) as error:
        parse_role_arn(text, partition="aws")
    if len(text) > 12:
        assert text not in str(error.value)


@given(st.text(max_size=80) | st.from_regex(r"arn:aws:iam::[0-9]{12}:role/[ -~]{0,20}\n?", fullmatch=True))
def test_an_arn_that_passes_is_the_sum_of_its_parts(text: str) -> None:
    try:
        parts = parse_role_arn(text, partition="aws")
    except RoleArnError:
        return
    assert text == f"arn:{parts.partition}:iam::{parts.account_id}:role{parts.path}{parts.name}"
    assert parts.account_id.isascii()
    assert len(parts.account_id) == 12
