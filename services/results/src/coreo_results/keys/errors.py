"""What can go wrong with keys, and the answer each gives."""

from coreo_shared.web import Problem

_RETRY_AFTER_SECONDS = "5"


class RootKeyError(Exception):
    """The root key cannot be used as configured; the message says what to change."""


class KeyUnavailableError(Problem):
    """The root key or the vault does not answer now. Nothing is stored or shown without it; later it may work."""

    def __init__(self, cause: str) -> None:
        detail = (
            f"The root key cannot be used at the moment ({cause}). Nothing was stored or read. Try again; if it lasts, "
            "check that the key is enabled and that the results service's role may use it."
        )
        headers = {"Retry-After": _RETRY_AFTER_SECONDS}
        super().__init__(503, "key_unavailable", detail, title="Encryption key unavailable", headers=headers)


class VaultUnavailableError(KeyUnavailableError):
    """The vault does not answer now, or does not have a team's key as it should."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.detail = (
            f"The vault with the team's key cannot be used at the moment ({cause}). Nothing was stored or read. Try "
            "again; if it lasts, check that the vault is there and that COREO_VAULT and COREO_ROOT_KEY name the right "
            "ones."
        )


class NoRunKeyError(Exception):
    """The run was never claimed, or its key was destroyed: nothing of it can be read or written."""


class StaleRunKeyError(Exception):
    """The run has another key by now than the one that was used. See `Keys.with_run_key`."""


class KeyRetiredError(Exception):
    """The version of the team's key that wraps what was to be stored is retired. See `Keys.with_team_key`."""


class KeyDestroyedError(Exception):
    """That version of the team's key is nowhere any more, as was wished."""


class NoTeamKeyError(Exception):
    """The team has no key: it never stored anything."""
