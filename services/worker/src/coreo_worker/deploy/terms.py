"""Names that a deploy run's process and the worker share."""

from typing import Final

DRIFT_RULE: Final = "drift-resource"  # the one rule of drift runs: a resource is as its template says
UNIT_TYPE: Final = "aws.cloudformation.stack"  # a drift run has one unit, of this type
