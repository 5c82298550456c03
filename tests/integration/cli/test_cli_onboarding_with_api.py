"""`coreo account …` as an installed command against the real api: grants, verdicts, rotation, organizations."""

import asyncio
import json
import os
import pty

import msgspec
import pytest
import yaml

from coreo_shared.contracts.onboarding import (
    CheckName,
    CheckOutcome,
    DiscoveredAccount,
    DiscoverReport,
    VerifyReport,
)
from coreo_shared.contracts.terms import RunState
from tests.support.api import VERIFIED
from tests.support.cli_process import Done, Served, finish, read_until

ROLE = "arn:aws:iam::210987654321:role/CoreoAudit"
INSECURE = VerifyReport(
    verdict="INSECURE",
    reason="The role lets in who brings no external id.",
    checks=[
        msgspec.structs.replace(check, outcome=CheckOutcome.FAILED)
        if check.name is CheckName.WITHOUT_EXTERNAL_ID
        else check
        for check in VERIFIED.checks
    ],
)


async def verified(served: Served, report: VerifyReport | None, state: RunState = RunState.SUCCEEDED) -> Done:
    """`coreo account verify`, which a worker ends with this report."""
    following = await served.begin("account", "verify", "production")
    await served.report("verify", report, state)
    return await finish(following)


async def test_a_grant_of_each_kind_is_written(served: Served) -> None:
    added = await served.coreo("account", "add", "production", "--account-id", "210987654321")
    assert added.code == 0, added.err
    assert "coreo account grant production --format cloudformation" in added.err
    account = (await served.coreo("account", "show", "production", "-o", "json")).json
    trust = await served.coreo("account", "grant", "production", "--format", "trust")
    assert trust.json == account["trust_policy"]
    template = await served.coreo("account", "grant", "production", "--format", "cloudformation")
    assert account["external_id"] in template.out
    assert "Resources" in yaml.load(template.out, Loader=yaml.BaseLoader)  # noqa: S506  makes strings only
    commands = await served.coreo("account", "grant", "production", "--action", "s3:PutObject", "--format", "commands")
    assert "s3:PutObject" in commands.out
    assert all(line.startswith("aws ") for line in commands.out.splitlines())
    assert "coreo account set-role production --role-arn arn:aws:iam::210987654321:role/CoreoAudit" in commands.err


async def test_the_policy_of_an_account_is_what_its_plans_need(served: Served) -> None:
    await served.coreo("account", "add", "production", "--account-id", "210987654321")
    empty = await served.coreo("account", "policy", "production")
    assert empty.code == 1
    assert "--plan PLAN" in empty.err
    for name, rule in (("one", "s3-bucket-versioning"), ("two", "iam-root-mfa")):
        account = ("--account", "production") if name == "one" else ()
        made = await served.coreo("plan", "create", "--name", name, *account, "--rule", rule, "--region", "eu-west-1")
        assert made.code == 0, made.err
    of_account = await served.coreo("account", "policy", "production")
    of_plan = await served.coreo("account", "policy", "production", "--plan", "one")
    assert of_account.json == of_plan.json
    assert "s3:GetBucketVersioning" in of_plan.out
    assert "s3:GetBucketVersioning" not in (await served.coreo("account", "policy", "production", "--plan", "two")).out
    wrong = await served.coreo("account", "policy", "production", "--rule-set", "basline")
    assert wrong.code == 1
    assert "--rule-set" in wrong.err


async def test_nothing_runs_in_an_account_until_it_is_proven(served: Served) -> None:
    await served.plan_of("210987654321")
    insecure = await verified(served, INSECURE)
    assert insecure.code == 6
    assert "✗ no external id" in insecure.out
    refused = await served.coreo("run", "start", "weekly")
    assert refused.code == 1
    assert "production is INSECURE: coreo account show " in refused.err
    shown = await served.coreo("account", "show", "production")
    assert "The role lets in who brings no external id." in shown.out
    assert "aws iam update-assume-role-policy --role-name CoreoAudit" in shown.err
    undone = await verified(served, None, RunState.EXPIRED)
    assert undone.code == 4
    assert (await verified(served, VERIFIED)).code == 0
    assert (await served.coreo("run", "start", "weekly")).code == 0
    entries = (await served.coreo("account", "history", "production", "-o", "json")).json
    assert [entry["verdict"] for entry in entries if entry["kind"] == "verify"] == [
        *("CONNECTED", None, "INSECURE", "CONNECTED"),
    ]
    assert {entry["by"] for entry in entries} == {"first token"}


async def test_a_role_is_followed_from_the_start_on_a_terminal(served: Served) -> None:
    terminal, stdout = pty.openpty()
    arguments = ("account", "add", "production", "--account-id", "210987654321", "--role-arn", ROLE)
    try:
        following = await served.begin(*arguments, stdout=stdout, stderr=stdout)
        await served.report("verify", VERIFIED)
        drawn = await asyncio.to_thread(read_until, terminal, "coreo plan create")
        async with asyncio.timeout(30):
            await following.wait()
    finally:
        os.close(stdout)
        os.close(terminal)
    assert following.returncode == 0
    assert "Verifying production" in drawn
    assert "CONNECTED" in drawn


@pytest.mark.parametrize(
    "arn", ["arn:aws:iam::12345:role/x", "arn:aws:iam::210987654321:user/x", "arn:aws:iam::111111111111:role/x"]
)
async def test_a_role_that_cannot_be_names_the_option(served: Served, arn: str) -> None:
    await served.coreo("account", "add", "production", "--account-id", "210987654321")
    done = await served.coreo("account", "set-role", "production", "--role-arn", arn)
    assert (done.code, done.out) == (1, "")
    assert "--role-arn: " in done.err


async def test_an_external_id_is_replaced_once_it_is_proven(served: Served) -> None:
    await served.team.add_account()
    before = (await served.coreo("account", "show", "production", "-o", "json")).json
    rotating = (await served.coreo("account", "rotate-external-id", "production", "-o", "json")).json
    following = rotating["next_external_id"]
    assert following not in {None, before["external_id"]}
    assert {following, before["external_id"]} <= set(json.dumps(rotating["trust_policy"]).split('"'))
    assert (await served.coreo("account", "rotate-external-id", "production")).code == 1
    confirming = await served.begin("account", "confirm-external-id", "production")
    await served.report("confirm", VERIFIED)
    confirmed = await finish(confirming)
    assert confirmed.code == 0, confirmed.err
    assert "let the role accept the new external id alone" in confirmed.err
    after = (await served.coreo("account", "show", "production", "-o", "json")).json
    assert (after["external_id"], after["next_external_id"]) == (following, None)


async def test_a_rotation_is_canceled(served: Served) -> None:
    await served.team.add_account()
    await served.coreo("account", "rotate-external-id", "production")
    canceled = await served.coreo("account", "rotate-external-id", "production", "--cancel")
    assert canceled.code == 0, canceled.err
    again = await served.coreo("account", "rotate-external-id", "production", "--cancel")
    assert again.code == 1
    assert "not being replaced" in again.err


async def test_a_disconnected_account_says_how_to_remove_its_role_and_connects_again(served: Served) -> None:
    await served.team.add_account()
    done = await served.coreo("account", "disconnect", "production", "--results", "keep")
    assert done.out == "Disconnected 'production'. Its results stay.\n"
    assert "aws iam delete-role --role-name CoreoAudit" in done.err
    assert "DISCONNECTED" in (await served.coreo("account", "list")).out
    connecting = await served.begin("account", "set-role", "production", "--role-arn", ROLE)
    await served.report("verify", VERIFIED)
    assert (await finish(connecting)).code == 0


async def test_an_organization_becomes_drafts(served: Served) -> None:
    await served.team.add_account()
    accounts = [
        DiscoveredAccount(account_id="210987654321", name="main", status="ACTIVE"),
        DiscoveredAccount(account_id="310987654321", name="web", status="ACTIVE"),
        DiscoveredAccount(account_id="410987654321", name="old", status="SUSPENDED"),
    ]
    report = DiscoverReport(organization_id="o-abc", management_account_id="210987654321", accounts=accounts)
    discovering = await served.begin("account", "discover", "production", "--drafts")
    await served.report("discover", report)
    done = await finish(discovering)
    assert done.code == 0, done.err
    rows = {line.split()[0]: line.split()[1:] for line in done.out.splitlines()[2:]}
    assert rows == {
        "210987654321": ["main", "ACTIVE", "production", "CONNECTED"],
        "310987654321": ["web", "ACTIVE", "web", "PENDING"],
        "410987654321": ["old", "SUSPENDED", "-", "-"],
    }
    assert "coreo account grant web --format stack-set" in done.err
