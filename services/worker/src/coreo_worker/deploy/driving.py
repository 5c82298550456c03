"""Which driver does what a run's job asks for, and what becomes of what they raise."""

from typing import Final

from coreo_shared.contracts.deploys import DeployAction
from coreo_worker.aws.stacks import StackRefusalError, StackTroubleError
from coreo_worker.deploy.changing import Changing
from coreo_worker.deploy.drifting import DriftDetection
from coreo_worker.deploy.pacing import MAX_TROUBLES
from coreo_worker.deploy.preparing import Preparation
from coreo_worker.deploy.problems import ProblemError, of_refusal
from coreo_worker.deploy.protocol import Ended
from coreo_worker.deploy.removal import Removal
from coreo_worker.deploy.run import DeployRun, interrupted

_MAX_REFUSED_LOOKS: Final = 4  # of a change that was begun: a policy may be in the middle of being edited


async def drive(run: DeployRun, *, changes: bool) -> Ended:
    """Does the run's next part: the change that was approved, or what comes before it."""
    if changes:
        return await _change(Changing(run))
    try:
        return await _looking(run).execute()
    except ProblemError as error:
        return await run.fail(error.problem, run.claim.checkpoint)
    except StackRefusalError as refused:
        return await run.fail(of_refusal(refused), run.claim.checkpoint)
    except StackTroubleError as trouble:
        return interrupted(trouble, 0)


def _looking(run: DeployRun) -> Preparation | DriftDetection | Removal:
    match run.spec.action:
        case DeployAction.DRIFT:
            return DriftDetection(run)
        case DeployAction.DESTROY:
            return Removal(run)
        case _:
            return Preparation(run)


async def _change(changing: Changing) -> Ended:
    """A change that was begun is never called failed because AWS does not tell what became of it."""
    run = changing.run
    try:
        return await changing.execute()
    except ProblemError as error:
        return await run.fail(error.problem, changing.checkpoint)
    except StackRefusalError as refused:
        problem = of_refusal(refused)
        if changing.is_applying:
            return await changing.after_trouble(problem.reason, limit=_MAX_REFUSED_LOOKS, kind="refusals")
        return await run.fail(problem, changing.checkpoint)
    except StackTroubleError as trouble:
        ended = interrupted(trouble, 0)
        if changing.is_applying:
            return await changing.after_trouble(ended.reason or "", limit=MAX_TROUBLES, kind="troubles")
        return ended
