"""structlog, set up once per process. Events are snake_case; context (team, run, request) is bound, not formatted."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

# Keys that must not reach a log whatever the caller does; the value is replaced.
_SECRET_KEYS = frozenset(
    {"authorization", "token", "run_token", "secret", "secret_access_key", "session_token", "password", "external_id"}
)
# These libraries log credentials, tokens and external ids: the SDK at DEBUG, SQLAlchemy (parameters) already at INFO.
_QUIET = ("botocore", "aiobotocore", "boto3", "urllib3", "httpx", "httpcore", "aiohttp", "sqlalchemy.engine")


def _redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key in event.keys() & _SECRET_KEYS:
        event[key] = "<redacted>"
    return event


def configure_logging(service: str, level: str = "INFO") -> None:
    """JSON lines on standard error for our events and the standard library's alike."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _redact,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                lambda _logger, _method, event: {"service": service, **event},
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger named as the module."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return logger
