"""What both HTTP services do alike: problem answers (RFC 9457), strict JSON, body limits, request context."""

from coreo_shared.web.install import install
from coreo_shared.web.problems import FieldError, Problem
from coreo_shared.web.strict_json import StrictRoute

__all__ = ["FieldError", "Problem", "StrictRoute", "install"]
