"""What to do with the key once the role is there."""

from collections.abc import Iterator

from coreo_api.bootstrap.body import Wish
from coreo_api.grants.commands import line


def sentences(*, is_temporary: bool) -> Iterator[str]:
    """For people."""
    yield (
        "Coreo has signed the requests that make the role, and has forgotten the secret: it is stored nowhere. The "
        "signatures are good for five minutes."
    )
    if is_temporary:
        yield "The key is temporary and ends by itself. Coreo does not need it again."
    else:
        yield (
            "Once the role is there, Coreo does not need the key again: deactivate it, and delete it when nothing else "
            "turns out to use it."
        )
        yield "If its user was made for this, delete the user too."


def commands(wish: Wish, *, is_temporary: bool) -> list[str]:
    """AWS CLI lines, to be run with the key itself or, with --user-name, by an administrator."""
    if is_temporary:
        return []
    key = ("--access-key-id", wish.access_key_id)
    return [
        line("aws iam update-access-key", key, ("--status", "Inactive")),
        line("aws iam delete-access-key", key),
    ]
