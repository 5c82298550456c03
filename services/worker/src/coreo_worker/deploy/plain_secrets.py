"""A parameter that the template calls secret must not have its value in a plan, which many may read."""

from collections.abc import Mapping
from typing import Any, Final

from coreo_shared.cloudformation.reading import TemplateTextError, read_template
from coreo_worker.deploy.problems import Problem, ProblemError

_DYNAMIC: Final = "{{resolve:"


def check_no_plain_secret(text: str, parameters: Mapping[str, str]) -> None:
    """Raises ProblemError for a NoEcho parameter with a plain value. What does not read as a template, AWS refuses."""
    try:
        declared: Any = read_template(text).get("Parameters")
    except TemplateTextError:
        return
    if not isinstance(declared, Mapping):
        return
    for name, value in sorted(parameters.items()):
        about = declared.get(name)
        is_secret = isinstance(about, Mapping) and str(about.get("NoEcho", "")).lower() == "true"
        if is_secret and _DYNAMIC not in value:
            raise ProblemError(
                Problem(
                    "secret_in_plain",
                    f"The parameter {name} is secret (NoEcho). Give it as a dynamic reference to Secrets Manager or "
                    "Parameter Store instead of its value.",
                )
            )
