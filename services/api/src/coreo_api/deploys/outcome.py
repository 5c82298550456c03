"""What a person has to check when nobody can say what became of a change, and what to do with the answer. Pure."""

import shlex
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote
from uuid import UUID

from coreo_api.deploys.schemas import CheckView, VerdictView
from coreo_shared.contracts.deploys import DeployAction

_CONSOLES: Final = {
    "aws": "console.aws.amazon.com",
    "aws-us-gov": "console.amazonaws-us-gov.com",
    "aws-cn": "console.amazonaws.cn",
}


@dataclass(frozen=True)
class Unknown:
    """A change of unknown outcome. ARNs are None where no worker came to know them.

    `protects_alone`: it was to set the stack's termination protection, and nothing else.
    """

    run_id: UUID
    action: DeployAction
    partition: str
    region: str
    stack_name: str
    stack_arn: str | None
    change_set_arn: str | None
    applied_at: str | None
    protects_alone: bool = False

    @property
    def stack(self) -> str:
        """The stack as commands name it: by ARN it is found also when it is deleted."""
        return self.stack_arn or self.stack_name


def console_url(unknown: Unknown) -> str:
    """The stack's page, or the list of stacks where its ARN is not known."""
    region, host = unknown.region, _CONSOLES[unknown.partition]
    url = f"https://{region}.{host}/cloudformation/home?region={region}#/stacks"
    if unknown.stack_arn is None:
        return f"{url}?filteringText={quote(unknown.stack_name)}"
    return f"{url}/events?stackId={quote(unknown.stack_arn, safe='')}"


def checks(unknown: Unknown) -> list[CheckView]:
    """What to look at, in this order."""
    if unknown.protects_alone:
        return [_protection(unknown)]
    found = [
        CheckView(
            question="Did CloudFormation begin it? Events that the run began have its id as their token.",
            command=_aws(
                unknown,
                "cloudformation",
                "describe-stack-events",
                "--stack-name",
                unknown.stack,
                "--query",
                f"StackEvents[?ClientRequestToken=='{unknown.run_id}'].[Timestamp,LogicalResourceId,ResourceStatus,"
                "ResourceStatusReason]",
            ),
        ),
        CheckView(
            question="How is the stack now, and since when?",
            command=_aws(
                unknown,
                "cloudformation",
                "describe-stacks",
                "--stack-name",
                unknown.stack,
                "--query",
                "Stacks[0].[StackStatus,StackStatusReason,CreationTime,LastUpdatedTime,DeletionTime]",
            ),
        ),
    ]
    if unknown.change_set_arn is not None:
        found.append(
            CheckView(
                question="Is the change set still there, and was it executed?",
                command=_aws(
                    unknown,
                    "cloudformation",
                    "describe-change-set",
                    "--change-set-name",
                    unknown.change_set_arn,
                    "--query",
                    "[Status,ExecutionStatus,StatusReason]",
                ),
            )
        )
    call = "DeleteStack" if unknown.action is DeployAction.DESTROY else "ExecuteChangeSet"
    found.append(
        CheckView(
            question=f"If the stack's events are gone: was {call} called, and what did AWS answer?",
            command=_aws(
                unknown,
                "cloudtrail",
                "lookup-events",
                "--lookup-attributes",
                f"AttributeKey=EventName,AttributeValue={call}",
                *(("--start-time", unknown.applied_at) if unknown.applied_at else ()),
                "--query",
                "Events[].CloudTrailEvent",
            ),
        )
    )
    return found


def _protection(unknown: Unknown) -> CheckView:
    return CheckView(
        question="Is the stack there, and is its termination protection as the plan says?",
        command=_aws(
            unknown,
            "cloudformation",
            "describe-stacks",
            "--stack-name",
            unknown.stack,
            "--query",
            "Stacks[0].[StackStatus,EnableTerminationProtection]",
        ),
    )


def verdicts(unknown: Unknown) -> list[VerdictView]:
    """What follows from what was seen."""
    settle = f"POST /v1/runs/{unknown.run_id}/settle"
    again = f"POST /v1/runs/{unknown.run_id}/reconcile: a worker looks again"
    busy = VerdictView(seen="The stack is …_IN_PROGRESS.", do=f"Wait for its end, then {again}.")
    reached = VerdictView(
        seen="Coreo could not reach the account (role gone, permission missing), and can now.", do=f"{again}."
    )
    if unknown.protects_alone:
        return [
            VerdictView(seen="The protection is as the plan says.", do=f'{settle} {{"outcome": "SUCCEEDED"}}'),
            VerdictView(seen="It is not, or the stack is gone.", do=f'{settle} {{"outcome": "FAILED"}}'),
            reached,
        ]
    if unknown.action is DeployAction.DESTROY:
        return [
            VerdictView(
                seen="The stack is DELETE_COMPLETE, or not there any more.", do=f'{settle} {{"outcome": "SUCCEEDED"}}'
            ),
            busy,
            VerdictView(
                seen="The stack is DELETE_FAILED, or as it was before: nothing has the run's token.",
                do=f'{settle} {{"outcome": "FAILED"}}',
            ),
            reached,
        ]
    return [
        VerdictView(
            seen="Events have the run's token, and the stack is CREATE_COMPLETE or UPDATE_COMPLETE since.",
            do=f'{settle} {{"outcome": "SUCCEEDED"}}',
        ),
        VerdictView(
            seen="Events have the run's token, and the stack is ROLLBACK_COMPLETE or UPDATE_ROLLBACK_COMPLETE since.",
            do=f'{settle} {{"outcome": "ROLLED_BACK"}}',
        ),
        busy,
        VerdictView(
            seen="The stack is …_FAILED since, UPDATE_ROLLBACK_FAILED too.",
            do=f'Repair the stack in AWS, then {settle} {{"outcome": "FAILED"}}',
        ),
        VerdictView(
            seen="Nothing has the run's token, and the change set is there with ExecutionStatus AVAILABLE, or AWS "
            "answered the call with an error: it was never executed.",
            do=f'{settle} {{"outcome": "FAILED"}}; then start the plan again',
        ),
        reached,
    ]


def _aws(unknown: Unknown, service: str, operation: str, *arguments: str) -> str:
    return shlex.join(["aws", service, operation, "--region", unknown.region, *arguments, "--output", "table"])
