"""What a run may do in the customer's account: the IAM actions of its rules' calls, and no other."""

from coreo_shared.catalogue.packs import PackError, catalogue_with
from coreo_shared.contracts.jobs import AuditSpec
from coreo_shared.rules.needs import REGION_ACTIONS, needs_of
from coreo_shared.rules.policy import PolicyTooLargeError, SessionPolicy, session_policies
from coreo_worker.aws.errors import PermanentError, TemporaryError

_ALL_REGIONS = "all"
_OTHER_WORKER_SECONDS = 30.0


def policies_for(spec: AuditSpec) -> tuple[SessionPolicy, ...]:
    """The session policies of an audit, mostly one.

    Raises PermanentError, or TemporaryError for a rule that only this worker lacks.

    While a new version is brought out, the api may know rules that a worker does not know yet.
    """
    try:
        catalogue = catalogue_with(tuple(pack.text for pack in spec.packs))
    except PackError:
        names = ", ".join(f"{pack.name}@{pack.version}" for pack in spec.packs)
        raise PermanentError(f"The rule packs ({names}) cannot be used by this worker. Validate them anew.") from None
    for position, rule in enumerate(spec.rules):
        if rule not in catalogue.rules:
            raise TemporaryError(
                f"rules.{position}: this worker knows no such rule; bring the workers up to date.",
                delay=_OTHER_WORKER_SECONDS,
            )
    actions = needs_of(catalogue, spec.rules).actions_by_service
    if _ALL_REGIONS in spec.regions:
        actions["ec2"] = actions.get("ec2", frozenset()) | REGION_ACTIONS
    if not any(actions.values()):
        raise PermanentError("The plan chooses no rule that reads anything. Add rules or a rule set to it.")
    try:
        return session_policies(actions)
    except PolicyTooLargeError as error:
        raise PermanentError(str(error)) from None
