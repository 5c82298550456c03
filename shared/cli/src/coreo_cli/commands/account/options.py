"""Options that several commands on accounts share."""

import sys
from typing import Annotated

import typer

from coreo_cli.grants import Level

LevelOption = Annotated[
    Level | None,
    typer.Option(
        "--level",
        help="What the role allows. audit: AWS's SecurityAudit policy; deploy: the actions you name; exact: the least "
        "that the named plans and rules need. audit, unless the other options tell.",
        show_default=False,
    ),
]
PlansOption = Annotated[
    list[str] | None,
    typer.Option(
        "--plan",
        metavar="PLAN",
        help="A plan that the role shall be enough for (exact). May be repeated.",
        show_default=False,
    ),
]
RuleSetsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--rule-set",
        metavar="ID",
        help="A rule set that the role shall be enough for (exact). May be repeated.",
        show_default=False,
    ),
]
RulesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--rule",
        metavar="ID",
        help="A rule that the role shall be enough for (exact). May be repeated.",
        show_default=False,
    ),
]
ActionsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--action",
        metavar="ACTION",
        help="An IAM action that the role shall allow, such as s3:PutObject (deploy). May be repeated.",
        show_default=False,
    ),
]
WatchOption = Annotated[
    bool | None,
    typer.Option(
        "--watch/--no-watch",
        help="Stay until the verdict, or do not. On a terminal it stays unless told otherwise.",
        show_default=False,
    ),
]
AlwaysWatchOption = Annotated[
    bool,
    typer.Option("--watch/--no-watch", help="Stay until the verdict, or only begin.", show_default=False),
]


def stays(watch: bool | None) -> bool:
    """Whether to stay until the end: as told, else where somebody looks at a terminal."""
    return sys.stdout.isatty() if watch is None else watch
