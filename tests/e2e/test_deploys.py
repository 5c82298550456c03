"""Deploy runs through real workers, the real results service and the simulated AWS."""

import json
from typing import Any

import pytest

from coreo_shared.contracts.deploys import DeployAction, Preview
from coreo_shared.contracts.terms import RunState
from tests.support.deploys import Desk, make_spec

pytestmark = pytest.mark.timeout(120)


def template(bucket: str, **resources: Any) -> dict[str, Any]:
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Resources": {
            "Bucket": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": bucket}},
            "Vpc": {"Type": "AWS::EC2::VPC", "Properties": {"CidrBlock": "10.0.0.0/16"}},
            **resources,
        },
        "Outputs": {"Vpc": {"Value": {"Ref": "Vpc"}}},
    }


async def test_life_of_a_stack(desk: Desk) -> None:
    worker = desk.worker()
    try:
        async with desk.following():
            spec = make_spec(template("life-1"), name="life")
            run_id, event = await desk.carry_out(spec)
            print(event)
            print(await desk.document(run_id, "preview"))
            print(await desk.document(run_id, "failure"))
            print(await desk.document(run_id, "outputs"))
            print(len(await desk.stack_events(run_id)))
            assert event.state is RunState.SUCCEEDED
            run_id, event = await desk.carry_out(make_spec(template("life-1"), name="life"))
            print(event)
            run_id, event = await desk.carry_out(make_spec(template("life-2"), DeployAction.PREVIEW, name="life"))
            print(event)
            print(await desk.document(run_id, "preview"))
            run_id, event = await desk.carry_out(make_spec(None, DeployAction.DRIFT, name="life"))
            print(event, await desk.document(run_id, "drift"), await desk.findings(run_id))
            run_id, event = await desk.carry_out(make_spec(None, DeployAction.DESTROY, name="life"))
            print(event)
            print(await desk.document(run_id, "preview"))
    finally:
        print(worker.log.read_text()[-6000:])
        worker.stop()
    assert 0
