"""Arguments and options of several deploy commands."""

from typing import Annotated

import typer

WhatArgument = Annotated[
    str,
    typer.Argument(metavar="DIR|PLAN", help="A directory with coreo.yaml (this one unless said), or a deploy plan."),
]
DeployRunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="A deploy run's id, or the beginning of it.", show_default=False)
]
WatchOption = Annotated[
    bool, typer.Option("--watch", "-w", help="Stay until the runs have ended, or somebody has to decide.")
]
AccountsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--account", metavar="ACCOUNT", help="Only in this cloud account. May be repeated.", show_default=False
    ),
]
RegionsOption = Annotated[
    list[str] | None,
    typer.Option("--region", metavar="REGION", help="Only in this region. May be repeated.", show_default=False),
]
AllowOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow",
        metavar="LOGICAL_ID",
        help="Let this resource pass the plan's gates this once. May be repeated.",
        show_default=False,
    ),
]
KeyOption = Annotated[
    str | None,
    typer.Option(
        "--idempotency-key", metavar="TEXT", help="Sent again, it starts nothing new; a fresh one when left out."
    ),
]
ReasonOption = Annotated[str, typer.Option(metavar="TEXT", help="Why; it is kept with your token's name.")]
