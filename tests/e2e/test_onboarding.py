"""Both ways into a customer's account, through every part, and what each way of getting it wrong is answered."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from coreo_embedded.estate import Expected
from coreo_embedded.estate.people import KeyEstate, make_user, seed_organization, seed_with_keys
from coreo_embedded.simulator import Credentials
from coreo_embedded.stack import Process
from coreo_shared.contracts.tokens import RESULTS_AUDIENCE, SERVICE_TOKEN_TYPE, ServiceToken
from tests.support.stack import ONBOARD_SETTINGS, Site, findings_of, start_run, until, until_ended

if TYPE_CHECKING:
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_sqs import SQSClient

pytestmark = pytest.mark.timeout(180)
ROLE = "CloudCoreoAssumedRole"
FULL = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": "*", "Resource": "*"},
        {"Effect": "Deny", "Action": "iam:CreateUser", "Resource": "*"},
    ],
}
_accounts = iter(range(333333330001, 333333339999))


@pytest.fixture
async def onboarding(site: Site) -> AsyncIterator[Process]:
    """An onboard worker for one test, whose key is known."""
    process = site.stack.start_worker("onboard", **ONBOARD_SETTINGS)
    try:
        await known(site, process)
        yield process
    finally:
        process.stop()


async def known(site: Site, *workers: Process) -> None:
    """Returns once the results service has these workers' sealing keys."""
    now = int(time.time())
    claims = ServiceToken(iss="coreo-api", aud=RESULTS_AUDIENCE, jti="test", iat=now, exp=now + 60, scope="feed")
    headers = {"authorization": f"Bearer {site.stack.sign(claims, typ=SERVICE_TOKEN_TYPE)}"}
    async with httpx.AsyncClient(base_url=site.results.url, headers=headers) as results:

        async def look() -> bool | None:
            listed = (await results.get("/internal/v1/workers")).json()["workers"]
            with_key = {worker["worker_id"] for worker in listed if worker["sealing_key"] is not None}
            return True if {worker.name for worker in workers} <= with_key else None

        await until(look, what="the workers' keys")


@pytest.fixture
def keys(site: Site) -> KeyEstate:
    """A customer with keys and no role."""
    return seed_with_keys(site.stack.simulator, str(next(_accounts)))


async def add(http: httpx.AsyncClient, account_id: str) -> dict[str, Any]:
    answer = await http.post("/v1/cloud-accounts", json={"name": f"a{account_id}", "account_id": account_id})
    assert answer.status_code == 201, answer.text
    account: dict[str, Any] = answer.json()
    return account


async def post_keys(
    http: httpx.AsyncClient, account: Mapping[str, Any], key: Credentials, **changes: Any
) -> httpx.Response:
    body = {"access_key_id": key.access_key_id, "secret_access_key": key.secret_access_key, **changes}
    return await http.post(f"/v1/cloud-accounts/{account['id']}/bootstrap", json=body)


async def settled(http: httpx.AsyncClient, account: Mapping[str, Any], *, seconds: float = 40) -> dict[str, Any]:
    """The cloud account once nothing is under way in it."""

    async def look() -> dict[str, Any] | None:
        shown: dict[str, Any] = (await http.get(f"/v1/cloud-accounts/{account['id']}")).json()
        busy = shown["verifying"] or shown["state"] in {"BOOTSTRAPPING", "VERIFYING"}
        return None if busy else shown

    return await until(look, what=f"end of the work in {account['name']}", seconds=seconds)


async def ended(http: httpx.AsyncClient, account: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of the account's history once it has ended."""

    async def look() -> dict[str, Any] | None:
        shown: dict[str, Any] = (await http.get(f"/v1/cloud-accounts/{account['id']}/history/{entry['id']}")).json()
        return None if shown["ended_at"] is None else shown

    return await until(look, what=f"end of {entry['kind']}", seconds=40)


async def bootstrapped(
    http: httpx.AsyncClient, account: Mapping[str, Any], key: Credentials, **changes: Any
) -> dict[str, Any]:
    """The report of a bootstrap with this key."""
    answer = await post_keys(http, account, key, **changes)
    assert answer.status_code == 202, answer.text
    report: dict[str, Any] = (await ended(http, account, answer.json()["history"]))["report"]
    return report


def iam_of(site: Site, account_id: str) -> "IAMClient":
    client: IAMClient = site.stack.simulator.root_client("iam", account_id)
    return client


async def test_keys_become_a_role_and_a_first_audit(
    site: Site, http: httpx.AsyncClient, worker: Process, onboarding: Process, keys: KeyEstate
) -> None:
    account = await add(http, keys.account_id)
    answer = await post_keys(http, account, keys.administrator)
    assert answer.status_code == 202
    assert any("delete-access-key" in command for command in answer.json()["commands"])
    shown = await settled(http, account)
    assert (shown["state"], shown["reason"]) == ("CONNECTED", None)
    assert {check["outcome"] for check in shown["last_verification"]["checks"]} == {"passed"}
    iam = iam_of(site, keys.account_id)
    role = iam.get_role(RoleName=ROLE)["Role"]
    assert role["Arn"] == shown["role_arn"]
    assert role["AssumeRolePolicyDocument"] == account["trust_policy"]
    (attached,) = iam.list_attached_role_policies(RoleName=ROLE)["AttachedPolicies"]
    version = iam.get_policy_version(PolicyArn=attached["PolicyArn"], VersionId="v1")["PolicyVersion"]
    assert version["Document"] == FULL

    rules = ["s3-bucket-versioning", "s3-bucket-public-access-block"]
    spec = {"rules": rules, "regions": ["all"]}
    plan = {"name": "keys", "kind": "audit", "spec": spec, "cloud_account_ids": [account["id"]]}
    plan_id = (await http.post("/v1/plans", json=plan)).json()["id"]
    run_id = await start_run(http, plan_id)
    assert (await until_ended(http, run_id))["state"] == "SUCCEEDED"
    wanted: Counter[Expected] = Counter(keys.expected_of(set(rules)))
    assert await findings_of(http, run_id) == wanted


async def test_a_role_and_policy_that_are_there_already_are_adopted(
    site: Site, http: httpx.AsyncClient, onboarding: Process, keys: KeyEstate
) -> None:
    account = await add(http, keys.account_id)
    iam = iam_of(site, keys.account_id)
    iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument=json.dumps(account["trust_policy"]))
    iam.create_policy(PolicyName=ROLE, PolicyDocument=json.dumps(FULL))
    report = await bootstrapped(http, account, keys.administrator)
    assert (report["role"], report["policy"], report["attached"]) == ("adopted", "adopted", True)
    assert (await settled(http, account))["state"] == "CONNECTED"


async def test_a_role_of_that_name_which_differs_is_reported_and_left_alone(
    site: Site, http: httpx.AsyncClient, onboarding: Process, keys: KeyEstate
) -> None:
    account = await add(http, keys.account_id)
    iam = iam_of(site, keys.account_id)
    other = json.loads(json.dumps(account["trust_policy"]).replace(account["external_id"], "another"))
    iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument=json.dumps(other))
    report = await bootstrapped(http, account, keys.administrator)
    assert report["problem"] == "role_differs"
    assert iam.get_role(RoleName=ROLE)["Role"]["AssumeRolePolicyDocument"] == other
    assert iam.list_attached_role_policies(RoleName=ROLE)["AttachedPolicies"] == []
    assert (await settled(http, account))["state"] == "PENDING"


async def test_each_wrong_key_is_told_from_the_others(
    site: Site, http: httpx.AsyncClient, onboarding: Process, keys: KeyEstate
) -> None:
    account = await add(http, keys.account_id)
    simulator, good = site.stack.simulator, keys.administrator
    wrong = Credentials(good.access_key_id, good.secret_access_key[:-4] + "AAAA")
    assert (await bootstrapped(http, account, wrong))["problem"] == "wrong_key"

    weak = make_user(
        simulator,
        keys.account_id,
        "weak",
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iam:Get*", "Resource": "*"}]},
    )
    report = await bootstrapped(http, account, weak)
    assert (report["problem"], report["missing_action"]) == ("missing_permission", "iam:CreatePolicy")

    elsewhere = make_user(simulator, str(next(_accounts)), "stranger")
    assert (await bootstrapped(http, account, elsewhere))["problem"] == "other_account"

    idle = make_user(simulator, keys.account_id, "idle")
    iam_of(site, keys.account_id).update_access_key(UserName="idle", AccessKeyId=idle.access_key_id, Status="Inactive")
    assert (await bootstrapped(http, account, idle))["problem"] in {"key_inactive", "wrong_key"}

    roles = iam_of(site, keys.account_id).list_roles()["Roles"]
    assert ROLE not in {role["RoleName"] for role in roles}


async def test_without_an_onboard_worker_nothing_is_queued(
    site: Site, http: httpx.AsyncClient, keys: KeyEstate
) -> None:
    account = await add(http, keys.account_id)

    async def nobody() -> httpx.Response | None:
        answer = await post_keys(http, account, keys.administrator)
        return answer if answer.status_code == 503 else None

    before = len(site.stack.simulator.requests)
    answer = await until(nobody, what="the last onboard worker's absence", seconds=45)
    assert (answer.json()["code"], int(answer.headers["retry-after"]) > 0) == ("no_onboard_worker", True)
    sqs: SQSClient = site.stack.simulator.root_client("sqs", site.stack.deployment.account_id)
    url = site.stack.deployment.queue_urls["onboard"]
    counts = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])["Attributes"]
    assert counts["ApproximateNumberOfMessages"] == "0"
    role = site.stack.deployment.role_arns["api"].rpartition("/")[2]
    sent = [r for r in site.stack.simulator.requests[before:] if r.role == role and r.operation == "SendMessage"]
    assert sent == []


async def test_a_worker_killed_between_policy_and_role_is_followed_by_another(
    site: Site, http: httpx.AsyncClient, keys: KeyEstate
) -> None:
    first = site.stack.start_worker("onboard", **ONBOARD_SETTINGS)
    second = site.stack.start_worker("onboard", **ONBOARD_SETTINGS)
    try:
        await known(site, first, second)
        account = await add(http, keys.account_id)
        with site.stack.simulator.fault(kind="hang", service="iam", operation="CreateRole") as fault:
            answer = await post_keys(http, account, keys.administrator)
            assert answer.status_code == 202, answer.text

            async def hangs() -> bool | None:
                return True if fault.hits else None

            await until(hangs, what="CreateRole")
            run_id = answer.json()["history"]["id"]
            busy = next(worker for worker in (first, second) if run_id in worker.log.read_text())
            busy.kill()
        shown = await settled(http, account, seconds=90)
        assert shown["state"] == "CONNECTED"
    finally:
        first.stop()
        second.stop()


@pytest.mark.parametrize(
    ("condition", "state"),
    [
        (None, "INSECURE"),
        ({"StringLike": {"sts:ExternalId": "*"}}, "INSECURE"),
        ({"StringEquals": {"sts:ExternalId": "somebody-elses"}}, "UNREACHABLE"),
    ],
)
async def test_only_a_role_that_is_proven_safe_is_used(
    site: Site, http: httpx.AsyncClient, onboarding: Process, condition: dict[str, Any] | None, state: str
) -> None:
    account = await add(http, str(next(_accounts)))
    trust = json.loads(json.dumps(account["trust_policy"]))
    for statement in trust["Statement"]:
        del statement["Condition"]
        if condition:
            statement["Condition"] = condition
    iam = iam_of(site, account["account_id"])
    arn = iam.create_role(RoleName="CoreoAudit", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    iam.attach_role_policy(RoleName="CoreoAudit", PolicyArn="arn:aws:iam::aws:policy/SecurityAudit")
    assert (await http.put(f"/v1/cloud-accounts/{account['id']}/role", json={"role_arn": arn})).status_code == 200
    shown = await settled(http, account)
    assert shown["state"] == state
    assert shown["reason"]
    spec = {"rules": ["s3-bucket-versioning"], "regions": ["all"]}
    plan = {"name": f"p{account['account_id']}", "kind": "audit", "spec": spec, "cloud_account_ids": [account["id"]]}
    plan_id = (await http.post("/v1/plans", json=plan)).json()["id"]
    refused = await http.post(f"/v1/plans/{plan_id}/runs")
    assert (refused.status_code, refused.json()["code"]) == (409, "account_not_connected")

    # Put right, it connects on demand.
    iam.update_assume_role_policy(RoleName="CoreoAudit", PolicyDocument=json.dumps(account["trust_policy"]))
    assert (await http.post(f"/v1/cloud-accounts/{account['id']}/verify")).status_code == 202
    assert (await settled(http, account))["state"] == "CONNECTED"
    assert (await http.post(f"/v1/plans/{plan_id}/runs")).status_code == 202


async def test_throttling_proves_nothing(site: Site, http: httpx.AsyncClient, onboarding: Process) -> None:
    account = await add(http, str(next(_accounts)))
    iam = iam_of(site, account["account_id"])
    trust = json.dumps(account["trust_policy"])
    arn = iam.create_role(RoleName="CoreoAudit", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    role = site.stack.deployment.role_arns["worker-onboard"].rpartition("/")[2]
    with site.stack.simulator.fault(kind="throttle", service="sts", operation="AssumeRole", role=role):
        await http.put(f"/v1/cloud-accounts/{account['id']}/role", json={"role_arn": arn})
        shown = await settled(http, account)
    assert shown["state"] == "UNVERIFIED"
    assert shown["next_verification_at"] is not None
    await http.post(f"/v1/cloud-accounts/{account['id']}/verify")
    assert (await settled(http, account))["state"] == "CONNECTED"


async def test_an_organizations_accounts_become_drafts(
    site: Site, http: httpx.AsyncClient, onboarding: Process
) -> None:
    account_id = str(next(_accounts))
    members = seed_organization(site.stack.simulator, account_id, ["payments", "sandbox"])
    account = await add(http, account_id)
    iam = iam_of(site, account_id)
    trust = json.dumps(account["trust_policy"])
    arn = iam.create_role(RoleName="CoreoAudit", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    policy = {"Effect": "Allow", "Action": ["organizations:List*", "organizations:Describe*"], "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [policy]})
    iam.put_role_policy(RoleName="CoreoAudit", PolicyName="organization", PolicyDocument=document)
    await http.put(f"/v1/cloud-accounts/{account['id']}/role", json={"role_arn": arn})
    assert (await settled(http, account))["state"] == "CONNECTED"
    answer = await http.post(f"/v1/cloud-accounts/{account['id']}/discover", json={"drafts": True})
    assert answer.status_code == 202, answer.text
    report = (await ended(http, account, answer.json()))["report"]
    assert {each["account_id"] for each in report["accounts"]} == {account_id, *members.values()}

    async def drafted() -> bool | None:
        page = (await http.get("/v1/cloud-accounts", params={"limit": 100})).json()
        states = {each["account_id"]: each["state"] for each in page["items"]}
        return True if all(states.get(member) == "PENDING" for member in members.values()) else None

    await until(drafted, what="drafts of the members")


async def test_the_external_id_rotates_with_an_overlap(
    site: Site, http: httpx.AsyncClient, onboarding: Process
) -> None:
    account = await add(http, str(next(_accounts)))
    path = f"/v1/cloud-accounts/{account['id']}"
    iam = iam_of(site, account["account_id"])
    trust = json.dumps(account["trust_policy"])
    arn = iam.create_role(RoleName="CoreoAudit", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    await http.put(f"{path}/role", json={"role_arn": arn})
    assert (await settled(http, account))["state"] == "CONNECTED"
    rotating = (await http.post(f"{path}/external-id/rotate")).json()
    assert rotating["external_id"] == account["external_id"] != rotating["next_external_id"]
    await http.post(f"{path}/external-id/confirm")
    early = await settled(http, account)  # the role does not know the next one yet
    assert (early["state"], early["external_id"]) == ("CONNECTED", account["external_id"])
    iam.update_assume_role_policy(RoleName="CoreoAudit", PolicyDocument=json.dumps(rotating["trust_policy"]))
    await http.post(f"{path}/external-id/confirm")
    shown = await settled(http, account)
    assert (shown["state"], shown["external_id"]) == ("CONNECTED", rotating["next_external_id"])
    assert shown["next_external_id"] is None
    assert account["external_id"] not in json.dumps(shown["trust_policy"])


async def test_a_disconnected_account_is_left_alone_and_can_come_back(
    site: Site, http: httpx.AsyncClient, onboarding: Process
) -> None:
    account = await add(http, str(next(_accounts)))
    path = f"/v1/cloud-accounts/{account['id']}"
    iam = iam_of(site, account["account_id"])
    trust = json.dumps(account["trust_policy"])
    arn = iam.create_role(RoleName="CoreoAudit", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    await http.put(f"{path}/role", json={"role_arn": arn})
    await settled(http, account)
    gone = await http.post(f"{path}/disconnect", json={"results": "purge"})
    assert gone.status_code == 200, gone.text
    assert (await http.get(path)).json()["state"] == "DISCONNECTED"
    before = len(site.stack.simulator.requests)
    assert (await http.post(f"{path}/verify")).status_code == 409
    await asyncio.sleep(0.2)
    entered = [r for r in site.stack.simulator.requests[before:] if r.parameters.get("RoleArn") == arn]
    assert entered == []
    await http.put(f"{path}/role", json={"role_arn": arn})
    assert (await settled(http, account))["state"] == "CONNECTED"
    kinds = [entry["kind"] for entry in (await http.get(f"{path}/history")).json()["items"]]
    assert kinds[::-1][:4] == ["created", "role_set", "verify", "disconnect"]
