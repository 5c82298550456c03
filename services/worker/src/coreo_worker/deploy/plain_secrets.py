"""A parameter that the template calls secret must not have its value in a plan, which many may read."""

import re
from collections.abc import Mapping
from typing import Any, Final

from coreo_shared.cloudformation.reading import TemplateTextError, read_template
from coreo_worker.deploy.problems import Problem, ProblemError

_REFERENCE: Final = re.compile(r"\{\{resolve:(?:ssm-secure|secretsmanager):[^{}\s]+\}\}")


def check_no_plain_secret(text: str, parameters: Mapping[str, str]) -> None:
    """Raises ProblemError for a NoEcho parameter with a plain value, and where the template does not say which are.

    CloudFormation takes some texts that do not read as a template here.
    """
    plain = sorted(name for name, value in parameters.items() if not _REFERENCE.fullmatch(value))
    if not plain:
        return
    try:
        declared: Any = read_template(text).get("Parameters")
    except TemplateTextError as error:
        raise ProblemError(
            Problem(
                "template_invalid",
                f"The template cannot be read ({error}), so that nobody can say which of its parameters are secret. "
                "Put that right in the template.",
            )
        ) from None
    if not isinstance(declared, Mapping):
        return
    for name in plain:
        about = declared.get(name)
        if isinstance(about, Mapping) and str(about.get("NoEcho", "")).lower() == "true":
            raise ProblemError(
                Problem(
                    "secret_in_plain",
                    f"The parameter {name} is secret (NoEcho). Give it as a reference instead of its value, and "
                    "as nothing else: {{resolve:secretsmanager:NAME}} or {{resolve:ssm-secure:NAME}}.",
                )
            )
