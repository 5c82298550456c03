"""Deploys on the wire: templates in jobs, what a preview's hash covers, and that the largest job can be signed."""

import base64
import os
import zlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coreo_shared.catalogue import load_catalogue
from coreo_shared.contracts.base import decode_json, encode_json
from coreo_shared.contracts.deploys import (
    DRIFT_RULES,
    MAX_SPEC_BYTES,
    MAX_TEMPLATE_BYTES,
    Change,
    ChangeDetail,
    DeployAction,
    DeploySpec,
    DeployTerms,
    GateHit,
    Preview,
)
from coreo_shared.contracts.jobs import Job, TargetAccount, Work, pool_of
from coreo_shared.contracts.terms import Pool
from coreo_shared.contracts.tokens import RunCapability
from coreo_shared.crypto.jose import Signer, Verifier, generate_key, public_jwk
from coreo_shared.ids import new_id
from coreo_shared.templates import TemplateError, pack, preview_hash, unpack

ADD = Change(action="Add", logical_id="A", type="AWS::S3::Bucket")
MODIFY = Change(
    action="Modify",
    logical_id="B",
    type="AWS::EC2::VPC",
    replacement="False",
    details=[ChangeDetail(attribute="Tags", before="x", after="y")],
)
PREVIEW = Preview(
    hash="0" * 64,
    operation="update",
    account_id="123456789012",
    region="eu-west-1",
    stack_name="network",
    stack_arn="arn:stack/1",
    stack_updated_at="2026-01-01T00:00:00+00:00",
    change_set_arn="arn:changeSet/1",
    changes=[ADD, MODIFY],
    made_at="2026-01-02T00:00:00+00:00",
)


@given(st.text(max_size=2000))
def test_a_template_is_unpacked_as_it_was(text: str) -> None:
    assert unpack(pack(text)) == text


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"no",
        pack("a: 1")[:-1],
        pack("a: 1") + b"x",
        pack("a" * (MAX_TEMPLATE_BYTES + 1)),
        zlib.compress(b"\0" * 10**8),
        zlib.compress(b"\xff"),
    ],
)
def test_what_is_no_packed_template_is_refused_without_being_unpacked_whole(packed: bytes) -> None:
    with pytest.raises(TemplateError):
        unpack(packed)


def test_a_template_may_be_as_long_as_cloudformation_takes() -> None:
    longest = "é" * (MAX_TEMPLATE_BYTES // 2)
    assert unpack(pack(longest)) == longest


@pytest.mark.parametrize(
    "change",
    [
        {"operation": "create"},
        {"account_id": "210987654321"},
        {"region": "us-east-1"},
        {"stack_name": "other"},
        {"stack_arn": "arn:stack/2"},  # deleted and made again under its name
        {"stack_updated_at": "2026-01-01T00:00:01+00:00"},  # changed by somebody since
        {"change_set_arn": "arn:changeSet/2"},
        {"changes": [ADD]},
        {"changes": [ADD, MODIFY, MODIFY]},
        {"changes": [ADD, msgspec.structs.replace(MODIFY, replacement="True")]},
        {"changes": [ADD, msgspec.structs.replace(MODIFY, details=[])]},
    ],
)
def test_another_change_or_another_stack_has_another_hash(change: dict[str, Any]) -> None:
    assert preview_hash(msgspec.structs.replace(PREVIEW, **change)) != preview_hash(PREVIEW)


@pytest.mark.parametrize(
    "change",
    [
        {"hash": "f" * 64},
        {"made_at": "2027-01-01T00:00:00+00:00"},
        {"changes": [MODIFY, ADD]},
        {"notes": ["x"], "findings_passed": 3},
        {"gates": [GateHit(resource_type="AWS::*", effect="remove", logical_id="A", type="x", allowed=False)]},
    ],
)
def test_the_same_change_made_again_has_the_same_hash(change: dict[str, Any]) -> None:
    again = decode_json(encode_json(msgspec.structs.replace(PREVIEW, **change)), Preview)
    assert preview_hash(again) == preview_hash(PREVIEW)


def test_the_largest_deploy_fits_into_a_signed_job() -> None:
    text = base64.b64encode(os.urandom(MAX_TEMPLATE_BYTES * 3 // 4)).decode()[:MAX_TEMPLATE_BYTES]
    spec = DeploySpec(action=DeployAction.APPLY, region="ap-southeast-1", stack_name="x" * 128, template=pack(text))
    room = MAX_SPEC_BYTES - len(encode_json(spec)) - len('"p":"",')
    assert room > 30_000  # for parameters and all else
    spec = msgspec.structs.replace(spec, parameters={"p": "v" * room})
    assert len(encode_json(spec)) <= MAX_SPEC_BYTES
    signer, now = Signer(key := generate_key()), 1_800_000_000
    ids: dict[str, Any] = {"team_id": new_id(), "run_id": new_id(), "plan_id": new_id(), "plan_revision": 2**31}
    envelope: dict[str, Any] = {"iss": "coreo-api", "jti": str(new_id()), "iat": now, "exp": now + 60}
    account: dict[str, Any] = {"cloud_account_id": new_id(), "account_id": "123456789012"}
    terms = DeployTerms(action=DeployAction.APPLY, target_id=new_id(), requested_by=new_id())
    capability = RunCapability(
        **envelope, **ids, **account, aud="coreo-results", pool=Pool.DEPLOY, deploy=terms, ticket=20_000
    )
    target = TargetAccount(**account, partition="aws-us-gov", role_arn="r" * 2048, external_id="e" * 1224)
    job = Job(**envelope, **ids, aud="a", target=target, work=spec, run_token=signer.sign(capability, typ="r"))
    token = signer.sign(job, typ="j")
    verified = Verifier([public_jwk(key)], issuer="coreo-api").verify(token, Job, typ="j", audience="a", now=now)
    assert verified == job
    assert pool_of(decode_json(encode_json(spec), Work)) is Pool.DEPLOY  # type: ignore[arg-type]  # a union


def test_no_rule_of_the_catalogue_is_called_as_those_of_drift_are() -> None:
    assert not [rule for rule in load_catalogue().rules if rule.startswith(DRIFT_RULES)]
