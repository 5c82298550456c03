"""What can be wrong with a definition, a parameter or a name. Texts name the place and never repeat the input."""

import difflib
from collections.abc import Iterable

Path = tuple[str | int, ...]


def dotted(path: Path) -> str:
    """`fail_when.where.0.IpProtocol` for people and for problem answers."""
    return ".".join(str(part) for part in path)


class DefinitionError(ValueError):
    """A rule, resource type or rule set is not right. `path` leads to the place inside the document."""

    def __init__(self, problem: str, path: Path = (), *, file: str = "", line: int | None = None) -> None:
        self.problem = problem
        self.path = path
        self.file = file
        self.line = line
        place = ":".join(str(part) for part in (file, line) if part not in {"", None})
        super().__init__(": ".join(part for part in (place, dotted(path), problem) if part))

    def at(self, file: str, line: int | None) -> "DefinitionError":
        """The same error, with the place in the file."""
        return DefinitionError(self.problem, self.path, file=file, line=line)


class ParameterError(ValueError):
    """A plan's value for a rule's parameter is not right. `field` is such as `parameters.iam-user-key-age.max_days`."""

    def __init__(self, problem: str, field: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.problem = problem
        self.field = field


class UnknownNameError(ValueError):
    """There is no such rule or rule set. `field` is such as `rules.3`."""

    def __init__(self, kind: str, position: int, suggestion: str = "") -> None:
        self.kind = kind
        self.position = position
        self.field = f"{kind}s.{position}"
        self.problem = f"no {kind.replace('_', ' ')} of this name" + suggestion
        super().__init__(f"{self.field}: {self.problem}")


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """`; did you mean X?` when something known is close to what was given, else nothing."""
    close = difflib.get_close_matches(given[:100], list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""
