"""Why an exclusion is refused, or goes no further."""

from coreo_shared.web import Problem


class NoBackupsError(Problem):
    """This installation has no backups, so that there is nothing to exclude from."""

    def __init__(self) -> None:
        detail = "This installation keeps no backups. To make results unreadable, delete them."
        super().__init__(409, "no_backups", detail)


class NothingToExcludeError(Problem):
    """The plan or cloud account has no runs."""

    def __init__(self, kind: str) -> None:
        whose = "this plan" if kind == "plan" else "the plans that run in it"
        wish = f"To have none of its later runs backed up, say so in the settings of {whose}."
        detail = f"There are no runs of this {kind}. {wish}"
        super().__init__(409, "nothing_to_exclude", detail)


class NoReceiptError(Problem):
    """Not all steps are through."""

    def __init__(self) -> None:
        detail = "This exclusion is pending: there is no receipt before all its steps are through."
        super().__init__(409, "exclusion_pending", detail, headers={"Retry-After": "5"})


class StillThereError(Exception):
    """Something is there that must be gone before a receipt is signed. The message says what."""
