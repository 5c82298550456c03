"""The worker's own identity: the role that its container has. Its queue and STS see it, a run's process never does."""

from aiobotocore.session import AioSession, get_session

__all__ = ["AioSession", "own_session"]


def own_session() -> AioSession:
    """An SDK session with the credentials of the usual places, and regional STS endpoints whatever they say."""
    session = get_session()
    session.set_config_variable("sts_regional_endpoints", "regional")
    return session
