"""What can go wrong with keys, and the answer each gives."""

from coreo_shared.web import Problem

_RETRY_AFTER_SECONDS = "5"


class RootKeyError(Exception):
    """The root key cannot be used as configured; the message says what to change."""


class KeyUnavailableError(Problem):
    """The root key does not answer now. Nothing is stored or shown without it; trying again later works."""

    def __init__(self, cause: str) -> None:
        detail = (
            f"The root key cannot be used at the moment ({cause}). Nothing was stored or read. Try again; if it lasts, "
            "check that the key is enabled and that the results service's role may use it."
        )
        headers = {"Retry-After": _RETRY_AFTER_SECONDS}
        super().__init__(503, "key_unavailable", detail, title="Encryption key unavailable", headers=headers)
