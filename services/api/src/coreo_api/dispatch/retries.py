"""When to try again."""

_FIRST_SECONDS = 0.5
_LONGEST_SECONDS = 30.0


def retry_delay(failures: int, chance: float) -> float:
    """Seconds to wait after so many failures in a row (1, 2, …): doubling up to half a minute.

    `chance`, from 0 to 1, takes away up to half of it, so that replicas that failed together do not return together.
    """
    full = min(_LONGEST_SECONDS, _FIRST_SECONDS * 2.0 ** min(failures - 1, 10))
    return full * (1 - chance / 2)
