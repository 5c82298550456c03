"""`coreo account …`: AWS accounts, the roles in them, and the proof that those are safe."""

import typer

from coreo_cli.account_words import EXIT_CODES_HELP
from coreo_cli.commands.account import bootstrap, external_id, grant, organization, records, verification
from coreo_cli.groups import SectionedGroup
from coreo_cli.options import examples

_CONNECT = "Connect"
_LOOK = "Look"
_CHANGE = "Change"
_ROLE = "arn:aws:iam::210987654321:role/CoreoAudit"

app = typer.Typer(cls=SectionedGroup, no_args_is_help=True, help="AWS accounts that Coreo works in.")

app.command(
    rich_help_panel=_CONNECT,
    epilog=examples(
        "coreo account add production --account-id 210987654321",
        "coreo account add production --account-id 210987654321 --rule-set baseline",
        f"coreo account add production --account-id 210987654321 \\\n    --role-arn {_ROLE} --watch",
        more=EXIT_CODES_HELP,
    ),
)(records.add)
app.command(
    rich_help_panel=_CONNECT,
    epilog=examples(
        "coreo account grant production --format cloudformation --output-file coreo-role.yaml",
        "coreo account grant production --plan nightly --format terraform",
        "coreo account grant production --action 'cloudformation:*' --format commands",
    ),
)(grant.grant)
app.command(
    "set-role",
    rich_help_panel=_CONNECT,
    epilog=examples(
        f"coreo account set-role production --role-arn {_ROLE} --watch",
        more=EXIT_CODES_HELP,
    ),
)(verification.set_role)
app.command(
    rich_help_panel=_CONNECT,
    context_settings={"allow_extra_args": True},  # a secret put there is refused without being repeated
    epilog=examples(
        "coreo account bootstrap production --access-key-id AKIAIOSFODNN7EXAMPLE",
        "coreo account bootstrap production --access-key-id AKIAIOSFODNN7EXAMPLE --level audit < secret.txt",
        more=EXIT_CODES_HELP,
    ),
)(bootstrap.bootstrap)
app.command(rich_help_panel=_CONNECT, epilog=examples("coreo account verify production", more=EXIT_CODES_HELP))(
    verification.verify
)
app.command(
    rich_help_panel=_CONNECT,
    epilog=examples("coreo account discover management", "coreo account discover management --drafts"),
)(organization.discover)

app.command("list", rich_help_panel=_LOOK)(records.list_accounts)
app.command(rich_help_panel=_LOOK, epilog=examples("coreo account show production --trust-policy > trust-policy.json"))(
    records.show
)
app.command(rich_help_panel=_LOOK, epilog=examples("coreo account history production --all"))(verification.history)
app.command(rich_help_panel=_LOOK, epilog=examples("coreo account policy production --plan nightly > policy.json"))(
    grant.policy
)

app.command(rich_help_panel=_CHANGE)(records.rename)
app.command(
    "rotate-external-id",
    rich_help_panel=_CHANGE,
    epilog=examples(
        "coreo account rotate-external-id production", "coreo account rotate-external-id production --cancel"
    ),
)(external_id.rotate)
app.command(
    "confirm-external-id",
    rich_help_panel=_CHANGE,
    epilog=examples("coreo account confirm-external-id production", more=EXIT_CODES_HELP),
)(external_id.confirm)
app.command(rich_help_panel=_CHANGE, epilog=examples("coreo account disconnect production --results keep"))(
    records.disconnect
)
app.command(rich_help_panel=_CHANGE)(records.remove)
