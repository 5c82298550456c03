"""`coreo deploy …`."""

import typer

from coreo_cli.commands.deploy import actions, decisions, looking, starting
from coreo_cli.groups import SectionedGroup
from coreo_cli.options import examples

_WORK, _DECIDE, _LOOK = "Work", "Decide", "Look"
app = typer.Typer(
    cls=SectionedGroup,
    no_args_is_help=True,
    help="Change infrastructure with CloudFormation: preview, approve, apply, drift, destroy.",
    epilog=examples(
        "coreo deploy init network --stack network --region eu-west-1 --account production",
        "coreo deploy preview network --watch",
        "coreo deploy apply network --watch",
        more="A directory with coreo.yaml and a template is what you keep in git; a plan's name does as well.",
    ),
)
app.command(rich_help_panel=_WORK, epilog=starting.INIT_EXAMPLES)(starting.init)
app.command(rich_help_panel=_WORK)(starting.check)
app.command(rich_help_panel=_WORK, epilog=actions.PREVIEW_EXAMPLES)(actions.preview)
app.command(rich_help_panel=_WORK, epilog=actions.APPLY_EXAMPLES)(actions.apply)
app.command(rich_help_panel=_WORK, epilog=actions.DRIFT_EXAMPLES)(actions.drift)
app.command(rich_help_panel=_WORK, epilog=actions.DESTROY_EXAMPLES)(actions.destroy)
app.command(rich_help_panel=_DECIDE, epilog=decisions.APPROVE_EXAMPLES)(decisions.approve)
app.command(rich_help_panel=_DECIDE)(decisions.reject)
app.command(rich_help_panel=_DECIDE)(decisions.outcome)
app.command(rich_help_panel=_DECIDE)(decisions.reconcile)
app.command(rich_help_panel=_DECIDE, epilog=decisions.SETTLE_EXAMPLES)(decisions.settle)
app.command(rich_help_panel=_LOOK, epilog=looking.STATUS_EXAMPLES)(looking.status)
app.command(rich_help_panel=_LOOK)(looking.changes)
app.command(rich_help_panel=_LOOK)(looking.events)
app.command(rich_help_panel=_LOOK)(looking.outputs)
app.command(rich_help_panel=_LOOK, epilog=looking.QUEUE_EXAMPLES)(looking.queue)
