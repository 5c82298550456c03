"""The part of a deploy that only looks: change sets made once, shown whole, refused for a reason, and tidied up."""

from dataclasses import replace
from typing import Any

import pytest

from coreo_shared.contracts.deploys import DeployAction, Gate
from coreo_shared.contracts.terms import Severity
from coreo_shared.templates import pack
from coreo_worker.aws.stacks import StackDeniedError
from coreo_worker.deploy import judging
from tests.support.deploy_story import OTHER_RUN_ID, RUN_ID, Story
from tests.support.memory_stacks import MemoryStacks, modify, refused

WRITES = {"execute", "delete", "cancel_update", "protect"}


def outcome(ended: Any) -> tuple[str, bool]:
    return ended.outcome, ended.no_change


async def test_new_stack_waits_for_approval_of_what_would_be_made() -> None:
    story = Story()

    ended = await story.part()

    assert ended.outcome == "prepared"
    preview = story.preview
    assert (preview.operation, preview.stack_status, preview.stack_updated_at) == ("create", None, None)
    assert [(change.action, change.logical_id) for change in preview.changes] == [("Add", "Topic")]
    assert ended.checkpoint is not None
    assert (ended.checkpoint.hash, ended.checkpoint.stack_arn) == (preview.hash, preview.stack_arn)
    (order,) = story.stacks.orders
    assert (order.name, order.token, order.is_update) == (f"coreo-{RUN_ID}", RUN_ID, False)
    assert not WRITES & set(story.stacks.calls)


async def test_existing_stack_is_updated() -> None:
    story = Story(MemoryStacks(changes=(modify(replacement="True"),)))
    kept = story.stacks.add()

    await story.part()

    assert (story.preview.operation, story.preview.stack_updated_at) == ("update", kept.stack.updated_at)
    assert story.stacks.orders[0].is_update


async def test_preview_alone_leaves_no_change_set() -> None:
    story = Story(action=DeployAction.PREVIEW)

    assert outcome(await story.part()) == ("completed", False)
    assert story.preview.changes
    assert story.stacks.sets == {}


@pytest.mark.parametrize("is_new", [True, False])
@pytest.mark.parametrize("fault", ["lost", "trouble"])
async def test_lost_answer_makes_no_second_change_set(fault: Any, *, is_new: bool) -> None:
    story = Story()
    if not is_new:
        story.stacks.add()
    story.stacks.faults["make_change_set"] = [fault]

    assert (await story.part()).outcome == "prepared"
    assert len(story.stacks.sets) == len(story.stacks.orders) == 1


async def test_another_worker_shows_the_same() -> None:
    story = Story()
    await story.part()
    first = story.preview

    story.checkpoint = None  # it died before it could park
    await story.part()

    assert story.preview.hash == first.hash
    assert len(story.stacks.orders) == 1


async def test_slow_change_set_costs_no_place() -> None:
    story = Story(MemoryStacks(making="CREATE_IN_PROGRESS"))

    ended = await story.part()

    assert (ended.outcome, ended.reason) == ("parked", "CloudFormation is making the change set.")
    assert ended.seconds >= 10
    story.stacks.set_change_set(status="CREATE_COMPLETE", execution="AVAILABLE")
    story.now += ended.seconds
    assert (await story.part()).outcome == "prepared"
    assert len(story.stacks.orders) == 1


@pytest.mark.parametrize(
    "reason",
    [
        "The submitted information didn't contain changes. Submit different information to create a change set.",
        "No updates are to be performed.",
    ],
)
async def test_nothing_to_change_is_success(reason: str) -> None:
    story = Story(MemoryStacks(making="FAILED", reason=reason, changes=()))
    story.stacks.add()

    ended = await story.part()

    assert outcome(ended) == ("completed", True)
    assert (ended.reason or "").startswith("NO_CHANGE")
    assert story.preview.operation == "none"
    assert story.stacks.sets == {}


async def test_change_set_that_fails_is_a_failure_in_aws_words() -> None:
    story = Story(MemoryStacks(making="FAILED", reason="Template error: secret-value", changes=()))

    ended = await story.part()

    assert ended.outcome == "failed"
    assert "secret-value" not in (ended.reason or "")
    assert (story.failure.code, story.failure.message) == ("template_invalid", "Template error: secret-value")
    assert story.stacks.sets == {}


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("CREATE_IN_PROGRESS", "stack_busy"),
        ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "stack_busy"),
        ("UPDATE_ROLLBACK_IN_PROGRESS", "stack_busy"),
        ("DELETE_IN_PROGRESS", "stack_busy"),
        ("ROLLBACK_COMPLETE", "stack_not_updatable"),
        ("UPDATE_ROLLBACK_FAILED", "stack_not_updatable"),
        ("ROLLBACK_FAILED", "stack_not_updatable"),
        ("CREATE_FAILED", "stack_not_updatable"),
        ("DELETE_FAILED", "stack_not_updatable"),
        ("UPDATE_FAILED", "stack_not_updatable"),
        ("SOMETHING_NEW", "stack_not_updatable"),
    ],
)
async def test_stack_in_no_state_for_it_is_left_alone(status: str, code: str) -> None:
    story = Story()
    story.stacks.add(status=status)

    ended = await story.part()

    assert (ended.outcome, story.failure.code) == ("failed", code)
    assert status in (ended.reason or "")
    assert story.stacks.calls == ["find"]


@pytest.mark.parametrize(
    "status", ["CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE"]
)
async def test_stack_that_is_whole_can_be_updated(status: str) -> None:
    story = Story()
    story.stacks.add(status=status)

    assert (await story.part()).outcome == "prepared"


INVALID = "ValidationError"


@pytest.mark.parametrize(
    ("said", "code", "aws", "named"),
    [
        ("InsufficientCapabilitiesException", "capability_missing", "Requires : [CAPABILITY_IAM]", "CAPABILITY_IAM"),
        (INVALID, "parameter_invalid", "Parameter 'Cidr' must match pattern ^10", "parameter"),
        (INVALID, "parameter_invalid", "Parameters: [Size] must have values", "parameter"),
        (INVALID, "template_invalid", "Template format error: unsupported structure.", "template"),
        (INVALID, "template_invalid", "Template Validation Error: x", "template"),
        (INVALID, "template_invalid", "Template may not exceed 1000000 bytes in size.", "template"),
        (INVALID, "template_unreadable", "S3 error: Access Denied", "s3:GetObject"),
        (INVALID, "template_unreadable", "TemplateURL must be a supported URL.", "s3:GetObject"),
        (INVALID, "service_role_unusable", "Role arn:x is invalid or cannot be assumed", "service role"),
        (INVALID, "stack_busy", "Stack:x is in UPDATE_IN_PROGRESS state and can not be updated.", "again"),
        (INVALID, "request_invalid", "Something else", "the failure says why"),
        ("LimitExceededException", "quota_reached", "Limit for stack has been exceeded", "quota"),
        ("AlreadyExistsException", "stack_name_taken", "Stack [web] already exists", "this name"),
        ("SomethingElse", "aws_refused", "no", "SomethingElse"),
        ("InvalidClientTokenId", "region_unavailable", "The security token is invalid", "not enabled"),
    ],
)
async def test_what_aws_refuses_is_named(said: str, code: str, aws: str, named: str) -> None:
    story = Story()
    story.stacks.faults["make_change_set"] = [refused(said, aws, "cloudformation:CreateChangeSet")]

    ended = await story.part()

    assert (ended.outcome, story.failure.code) == ("failed", code)
    assert named in (ended.reason or "")
    assert aws not in (ended.reason or "")  # AWS's own words are for the encrypted document
    if code != "stack_name_taken":
        assert story.failure.message == aws


@pytest.mark.parametrize("method", ["find", "change_set", "make_change_set", "change_sets"])
async def test_denied_action_is_named(method: str) -> None:
    story = Story()
    story.stacks.add()
    said = "User: arn:x is not authorized to perform: cloudformation:CreateChangeSet on resource: arn:y"
    story.stacks.faults[method] = [StackDeniedError("cloudformation:CreateChangeSet", "AccessDenied", said)]

    ended = await story.part()

    assert (ended.outcome, story.failure.code) == ("failed", "access_denied")
    assert story.failure.denied_action == "cloudformation:CreateChangeSet"
    assert "cloudformation:CreateChangeSet" in (ended.reason or "")
    assert "arn:" not in (ended.reason or "")


@pytest.mark.parametrize(("why", "code"), [("refused", "template_invalid"), ("gate", "gate_refused")])
async def test_why_it_failed_is_not_hidden_by_a_change_set_that_cannot_be_deleted(why: str, code: str) -> None:
    gates = [Gate(resource_type="AWS::*", refuse=["replace"])] if why == "gate" else []
    story = Story(MemoryStacks(changes=(modify(replacement="True"),)), fields={"gates": gates})
    story.stacks.add()
    if why == "refused":
        story.stacks.faults["make_change_set"] = [refused(INVALID, "Template format error: x")]
    denial = StackDeniedError("cloudformation:DeleteChangeSet", "AccessDenied", "no")
    story.stacks.faults["drop_change_set"] = [denial, denial]

    ended = await story.part()

    assert (ended.outcome, story.failure.code) == ("failed", code)


async def test_silence_of_aws_is_tried_again_later() -> None:
    story = Story()
    story.stacks.faults["find"] = ["trouble"]

    ended = await story.part()

    assert (ended.outcome, ended.reason) == ("interrupted", "AWS did not answer cloudformation:find (Throttling).")


async def test_change_set_or_stack_deleted_under_way_ends_the_run() -> None:
    story = Story(MemoryStacks(making="CREATE_IN_PROGRESS"))
    story.during_sleep = story.stacks.sets.clear

    ended = await story.part()

    assert (ended.outcome, story.failure.code) == ("failed", "change_set_gone")


@pytest.mark.parametrize("making", ["CREATE_COMPLETE", "CREATE_IN_PROGRESS"])
async def test_canceled_preparation_leaves_nothing(making: str) -> None:
    story = Story(MemoryStacks(making=making))

    ended = await story.part(cancel=True)

    assert ended.outcome == "canceled"
    assert story.stacks.sets == {}


async def test_change_sets_of_earlier_runs_are_tidied_up_and_no_others() -> None:
    story = Story()
    kept = story.stacks.add()
    await story.part()
    (arn,) = story.stacks.sets
    summary, made = story.stacks.sets[arn]

    def other(name: str, description: str) -> None:
        new = f"{arn}-{name}"
        story.stacks.sets[new] = replace(summary, arn=new, name=name, description=description), replace(made, arn=new)

    other("coreo-earlier", summary.description)
    other("coreo-of-another-customer", "Made by Coreo for cloud account other")
    other("mine", summary.description)
    del story.stacks.sets[arn]
    await story.part()

    names = {one.name for one, _ in story.stacks.sets.values()}
    assert names == {"coreo-of-another-customer", "mine", f"coreo-{RUN_ID}"}
    assert kept.stack.status == "CREATE_COMPLETE"


async def test_preview_leaves_the_change_set_of_an_apply_that_waits_for_people() -> None:
    story = Story()
    story.stacks.add()
    await story.approve()
    waiting = story.checkpoint

    story.action, story.run_id, story.checkpoint = DeployAction.PREVIEW, OTHER_RUN_ID, None
    assert (await story.part()).outcome == "completed"

    story.action, story.run_id, story.checkpoint = DeployAction.APPLY, RUN_ID, waiting
    assert (await story.apply()).outcome == "completed"
    assert [token for _, token in story.stacks.executed] == [RUN_ID]


@pytest.mark.parametrize(
    ("change", "refuse", "allow", "passes"),
    [
        (modify("Db", kind="AWS::RDS::DBInstance", replacement="True"), ["replace"], [], False),
        (modify("Db", kind="AWS::RDS::DBInstance", replacement="Conditional"), ["replace"], [], False),
        (modify("Db", kind="AWS::RDS::DBInstance", replacement="False"), ["replace", "remove"], [], True),
        (modify("Db", kind="AWS::RDS::DBInstance", replacement="True"), ["remove"], [], True),
        (modify("Db", kind="AWS::RDS::DBInstance", replacement="True"), ["replace"], ["Db"], True),
        (modify("Db", kind="AWS::S3::Bucket", replacement="True"), ["replace"], [], True),
    ],
)
async def test_gate_refuses_replacement_unless_allowed(change: Any, refuse: Any, allow: Any, *, passes: bool) -> None:
    fields = {"gates": [Gate(resource_type="AWS::RDS::*", refuse=refuse)], "allow": allow}
    story = Story(MemoryStacks(changes=(change,)), fields=fields)
    story.stacks.add()

    ended = await story.part()

    assert ended.outcome == ("prepared" if passes else "failed")
    if not passes:
        assert story.failure.code == "gate_refused"
        assert "Db (AWS::RDS::DBInstance, replace)" in (ended.reason or "")
        assert story.stacks.sets == {}
        assert story.preview.refused
    assert [hit.allowed for hit in story.preview.gates] == ([True] if allow else [False] if not passes else [])


@pytest.mark.parametrize(
    ("limit", "ends"), [(None, "prepared"), (Severity.CRITICAL, "prepared"), (Severity.INFO, "failed")]
)
async def test_rules_on_the_template_are_part_of_the_preview_and_may_refuse_it(limit: Any, ends: str) -> None:
    text = '{"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}, "Odd": {"Type": "AWS::Glue::Job"}}}'
    rules = ["sns-topic-unencrypted", "sns-topic-public"]
    story = Story(fields={"template": pack(text), "rules": rules, "refuse_severity": limit})

    ended = await story.part()

    assert ended.outcome == ends
    (finding,) = story.preview.findings
    assert (finding.rule_id, finding.logical_id, finding.status) == ("sns-topic-unencrypted", "Topic", "FAIL")
    assert story.preview.findings_passed == 1
    assert any("AWS::Glue::Job" in note for note in story.preview.notes)
    if ends == "failed":
        assert story.failure.code == "rules_refused"
        assert story.stacks.sets == {}


@pytest.mark.parametrize("limit", [None, Severity.CRITICAL])
async def test_template_that_cannot_be_judged_is_refused_where_failures_are(limit: Any) -> None:
    text = "Resources:\n  Topic: &anchor {Type: AWS::SNS::Topic}\n"  # CloudFormation may take it
    story = Story(fields={"template": pack(text), "rules": ["sns-topic-unencrypted"], "refuse_severity": limit})

    ended = await story.part()

    if limit is None:
        assert ended.outcome == "prepared"
        assert any("could not be judged" in note for note in story.preview.notes)
        return
    assert (ended.outcome, story.failure.code, story.stacks.sets) == ("failed", "rules_refused", {})
    assert "line 2: CloudFormation knows no anchors" in (ended.reason or "")


async def test_findings_that_are_left_out_are_not_those_that_the_plan_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "MAX_FINDINGS", 1)
    unsure = '{"Type": "AWS::SNS::Topic", "Properties": {"KmsMasterKeyId": {"Fn::ImportValue": "x"}}}'
    text = f'{{"Resources": {{"A": {unsure}, "B": {unsure}, "C": {{"Type": "AWS::SNS::Topic"}}}}}}'
    fields = {"template": pack(text), "rules": ["sns-topic-unencrypted"], "refuse_severity": Severity.INFO}
    story = Story(fields=fields)

    ended = await story.part()

    assert (ended.outcome, story.failure.code) == ("failed", "rules_refused")
    assert [(one.logical_id, one.status) for one in story.preview.findings] == [("C", "FAIL")]
    assert "2 more findings of the rules are left out." in story.preview.notes


async def test_unknown_rule_is_no_rule_that_passes() -> None:
    story = Story(fields={"rules": ["nobody-knows"]})

    ended = await story.part()

    assert (ended.outcome, story.failure.code) == ("failed", "rules_unknown")
    assert story.stacks.sets == {}


@pytest.mark.parametrize(
    "value",
    ["plain-secret", "plain-secret{{resolve:ssm:/x}}", "{{resolve:ssm:plain-secret}}", "{{resolve:plain-secret"],
)
@pytest.mark.parametrize("by_url", [True, False])
async def test_secret_in_plain_is_refused(value: str, *, by_url: bool) -> None:
    text = (
        '{"Parameters": {"Key": {"Type": "String", "NoEcho": true}}, "Resources": {"T": {"Type": "AWS::SNS::Topic"}}}'
    )
    story = Story(fields={"template": pack(text), "parameters": {"Key": value}})
    if by_url:
        # What stands at the URL CloudFormation alone can tell.
        del story.fields["template"]
        story.fields["template_url"] = "https://b-1.s3.amazonaws.com/t.json"

        async def template(stack: str, change_set: str | None = None) -> str:
            return text

        story.stacks.template = template  # type: ignore[method-assign]

    ended = await story.part()

    assert (ended.outcome, story.failure.code) == ("failed", "secret_in_plain")
    assert "Key" in (ended.reason or "")
    assert "plain-secret" not in (ended.reason or "") + story.failure.message
    assert story.stacks.sets == {}
    story.fields["parameters"] = {"Key": "{{resolve:secretsmanager:key}}"}
    assert (await story.part()).outcome == "prepared"


@pytest.mark.parametrize(("value", "ends"), [("plain-secret", "failed"), ("{{resolve:ssm-secure:/x}}", "prepared")])
async def test_template_that_does_not_say_what_is_secret_gets_no_plain_value(value: str, ends: str) -> None:
    text = "Parameters:\n  Key: {Type: String, NoEcho: true}\n  Key: {Type: String, NoEcho: true}\nResources: {T: {}}\n"
    story = Story(fields={"template": pack(text), "parameters": {"Key": value}})

    ended = await story.part()

    assert ended.outcome == ends
    if ends == "failed":
        assert story.failure.code == "template_invalid"
        assert "line 3: this key is there twice" in (ended.reason or "")
        assert story.stacks.orders == []


async def test_url_whose_template_nobody_may_see_is_refused() -> None:
    denial = StackDeniedError("cloudformation:GetTemplate", "AccessDenied", "no")
    story = Story(fields={"template_url": "https://b-1.s3.amazonaws.com/t.json", "parameters": {"Key": "x"}})
    story.stacks.faults["template"] = [denial]

    assert (await story.part()).outcome == "failed"
    assert (story.failure.denied_action, story.stacks.sets) == ("cloudformation:GetTemplate", {})
    story = Story(fields={"rules": ["sns-topic-unencrypted"]})
    story.stacks.faults["template"] = [denial]
    assert (await story.part()).outcome == "prepared"  # the job has the template, and the rules judge that one
    assert len(story.preview.findings) == 1


@pytest.mark.parametrize(
    ("said", "denied"),
    [
        ("S3 error: Access Denied\nFor more information check http://docs.aws.amazon.com/", True),
        ("S3 error: User: arn:x is not authorized to perform: s3:GetObject on resource: arn:y", True),
        ("S3 error: The specified key does not exist.", False),
        ("S3 error: The specified bucket does not exist", False),
    ],
)
@pytest.mark.parametrize(("query", "action"), [("", "s3:GetObject"), ("?versionId=3", "s3:GetObjectVersion")])
async def test_template_that_cannot_be_fetched_is_named_with_what_it_takes(
    said: str, query: str, action: str, *, denied: bool
) -> None:
    story = Story(fields={"template_url": f"https://b-1.s3.amazonaws.com/a/t.json{query}"})
    story.stacks.faults["make_change_set"] = [refused(INVALID, said, "cloudformation:CreateChangeSet")]

    ended = await story.part()

    assert (ended.outcome, story.failure.code) == ("failed", "template_unreadable")
    assert story.failure.denied_action == (action if denied else None)
    assert "s3://b-1/a/t.json" in (ended.reason or "")
    assert action in (ended.reason or "")
    assert "arn:" not in (ended.reason or "")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"template": b"nonsense"}, "template_invalid"),
        ({"template_url": "https://example.com/t.yaml"}, "template_unreadable"),
    ],
)
async def test_template_that_cannot_be_had_is_refused_before_aws_is_asked(fields: Any, code: str) -> None:
    story = Story(fields=fields)

    ended = await story.part()

    assert (ended.outcome, story.failure.code) == ("failed", code)
    assert story.stacks.orders == []
