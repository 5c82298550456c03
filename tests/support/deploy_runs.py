"""A deploy run spoken of as its workers, the api and people do, at a running results service."""

from typing import Any
from uuid import UUID

import httpx

from coreo_shared.contracts.base import decode_json
from coreo_shared.contracts.deploys import (
    Change,
    Checkpoint,
    DeployAction,
    DeployTerms,
    DeployView,
    Document,
    Preview,
    PutDocument,
    PutEvents,
    StackEvent,
)
from coreo_shared.contracts.results import ClaimAnswer, EventPage, RunEvent
from coreo_shared.contracts.terms import Pool
from coreo_shared.ids import new_id
from coreo_shared.templates import preview_hash
from tests.support.results import CLOUD_ACCOUNT, PLAN, ResultsService, RunClient

REQUESTER, APPROVER, SECOND = UUID(int=11), UUID(int=12), UUID(int=13)
CHECKPOINT = Checkpoint(step="made", change_set_arn="arn:aws:cloudformation:eu-west-1:1:changeSet/coreo-1/9")


def make_terms(**changes: Any) -> DeployTerms:
    """An apply of a target of its own that one person approves."""
    known: dict[str, Any] = {"action": DeployAction.APPLY, "target_id": new_id(), "requested_by": REQUESTER}
    return DeployTerms(**{**known, **changes})


def make_preview(**changes: Any) -> Preview:
    """A preview with its hash."""
    known: dict[str, Any] = {
        "hash": "0" * 64,
        "operation": "update",
        "account_id": "123456789012",
        "region": "eu-west-1",
        "stack_name": "network",
        "stack_arn": "arn:aws:cloudformation:eu-west-1:123456789012:stack/network/1",
        "changes": [Change(action="Add", logical_id="SecretBucket", type="AWS::S3::Bucket")],
        "made_at": "2026-01-01T00:00:00+00:00",
    }
    made = Preview(**{**known, **changes})
    return Preview(**{**known, **changes, "hash": preview_hash(made)})


def make_events(number: int, first: int = 0) -> list[StackEvent]:
    """Stack events that differ by their numbers."""
    return [
        StackEvent(
            event_id=f"event-{each}",
            at="2026-01-01T00:00:00+00:00",
            logical_id=f"Resource{each}",
            type="AWS::S3::Bucket",
            status="CREATE_COMPLETE",
        )
        for each in range(first, first + number)
    ]


class DeployClient(RunClient):
    """One deploy run. `fence` is that of its last claim, `preview` the last that was stored."""

    def __init__(
        self,
        service: ResultsService,
        terms: DeployTerms | None = None,
        *,
        team_id: UUID | None = None,
        cloud_account_id: UUID = CLOUD_ACCOUNT,
    ) -> None:
        super().__init__(service, team_id or new_id(), new_id())
        self.terms = terms or make_terms()
        self.cloud_account_id = cloud_account_id
        self.fence = 0
        self.preview = make_preview()
        self.use_ticket(0)

    def use_ticket(self, ticket: int, **claims: Any) -> None:
        """Speaks from now on as a worker with a job of this ticket."""
        known: dict[str, Any] = {"pool": Pool.DEPLOY, "deploy": self.terms, "cloud_account_id": self.cloud_account_id}
        self.token = self.service.tokens.run(self.team_id, self.run_id, ticket=ticket, **{**known, **claims})

    async def event(self) -> RunEvent:
        """The run as the feed tells it last."""
        answer = await self.service.call("GET", "/events", self.service.tokens.feed(), params={"limit": 1000})
        events = decode_json(answer.content, EventPage).events
        return [event for event in events if event.run_id == self.run_id][-1]

    async def view(self) -> DeployView:
        """What is special of it, as the feed tells it last."""
        view = (await self.event()).deploy
        assert view is not None
        return view

    async def take(self, worker_id: str = "w") -> ClaimAnswer:
        """A claim that works, with the job that the feed asks for, if it does."""
        if self.fence and (resume := (await self.view()).resume) is not None:
            self.use_ticket(resume.ticket)
        answer = await self.claim(worker_id)
        assert answer.status_code == 200, answer.text
        claim = decode_json(answer.content, ClaimAnswer)
        self.fence = claim.fence
        return claim

    async def put_document(self, document: Document, **changes: Any) -> httpx.Response:
        """A document."""
        body = PutDocument(**{"fence": self.fence, "document": document, **changes})
        return await self.service.call("PUT", f"/runs/{self.run_id}/documents", self.token, body)

    async def put_events(self, part: int, events: list[StackEvent], **changes: Any) -> httpx.Response:
        """A part of its stack events."""
        known = {"fence": self.fence, "part": part, "events": events, "checkpoint": CHECKPOINT}
        body = PutEvents(**{**known, **changes})
        return await self.service.call("PUT", f"/runs/{self.run_id}/stack-events", self.token, body)

    async def park(self, seconds: float | None = 30.0, **changes: Any) -> httpx.Response:
        """A park; without seconds, until people have approved."""
        known = {"fence": self.fence, "resume_seconds": seconds, "await_approval": seconds is None}
        return await self.say("park", {**known, "checkpoint": CHECKPOINT, **changes})

    async def begin(self, **changes: Any) -> httpx.Response:
        """The word before AWS is told."""
        known = {"fence": self.fence, "hash": self.preview.hash, "checkpoint": CHECKPOINT}
        return await self.say("begin-apply", {**known, **changes})

    async def finish(self, outcome: str, **changes: Any) -> httpx.Response:
        """The worker's last word."""
        return await self.say("finish", {"fence": self.fence, "outcome": outcome, "reason": "Why.", **changes})

    async def decide(self, word: str, body: dict[str, Any]) -> httpx.Response:
        """What a person decides, as the api passes it on."""
        return await self.service.call("POST", f"/runs/{self.run_id}/{word}", self.team_token, body)

    async def approve(self, by: UUID = APPROVER, **changes: Any) -> httpx.Response:
        """An approval."""
        return await self.decide(
            "approve", {"hash": self.preview.hash, "approver_id": str(by), "author": "ann", **changes}
        )

    async def settle(self, outcome: str = "FAILED") -> httpx.Response:
        """A person's word on what became of it."""
        return await self.decide("settle", {"outcome": outcome, "author": "ben", "reason": "I looked."})

    async def cancel(self, state: str = "CANCELED") -> httpx.Response:
        """The api's wish that the run end."""
        wish = {"plan_id": str(PLAN), "plan_revision": 1, "cloud_account_id": str(self.cloud_account_id)}
        wish |= {"account_id": "123456789012", "pool": "deploy", "state": state, "reason": "Somebody asked."}
        return await self.decide("cancel", wish)

    async def read(self, path: str, **parameters: Any) -> httpx.Response:
        """GET as the api."""
        return await self.service.call("GET", f"/runs/{self.run_id}/{path}", self.team_token, params=parameters)

    async def bring_to(self, state: str) -> "DeployClient":
        """To a state by the usual way: CLAIMED, PARKED, AWAITING_APPROVAL, APPROVED, APPLYING, APPLYING_PARKED,
        OUTCOME_UNKNOWN, or one of the ends."""
        await self.take()
        if state == "CLAIMED":
            return self
        if state == "PARKED":
            await _took(self.park())
            return self
        assert (await self.put_document(self.preview)).status_code == 204
        await _took(self.park(None))
        if state == "AWAITING_APPROVAL":
            return self
        await _took(self.approve())
        if state == "APPROVED":
            return self
        await self.take()
        await _took(self.begin())
        match state:
            case "APPLYING":
                pass
            case "APPLYING_PARKED":
                await _took(self.park())
            case "OUTCOME_UNKNOWN":
                await _took(self.finish("unknown"))
            case _:
                ends = {"SUCCEEDED": "completed", "ROLLED_BACK": "rolled_back", "FAILED": "failed"}
                await _took(self.finish(ends[state]))
        return self


async def _took(call: Any) -> None:
    answer = await call
    assert answer.status_code == 200, answer.text
