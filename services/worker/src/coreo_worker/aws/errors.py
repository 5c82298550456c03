"""What an AWS error asks of a worker: named by the reaction, so that callers need to know no code of AWS."""

from typing import Final

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.parsers import ResponseParserError


class PermanentError(Exception):
    """Trying again changes nothing. `str()` is a sentence that the customer can act on."""


class TemporaryError(Exception):
    """Worth another try in `delay` seconds. `str()` is fit for a log and for the run's reason."""

    def __init__(self, message: str, *, delay: float) -> None:
        super().__init__(message)
        self.delay = delay


# How a call fails: by an error that AWS answered, by what the SDK itself found wrong, by the network.
SDK_ERRORS: Final = (ClientError, BotoCoreError, HTTPClientError, ResponseParserError, OSError)


def code_of(error: Exception) -> str:
    """The error's code as AWS has it, or the name of the SDK's own error. Never AWS's text: it names identities."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code") or "Unknown")
    return type(error).__name__
