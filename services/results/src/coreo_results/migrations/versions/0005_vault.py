"""Team keys leave the database for the vault; what stays is a register of their versions. Runs can be keyed anew."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_TEAM = "team_id = NULLIF(current_setting('app.team_id', true), '')::uuid"

_CHANGING = "root_key, wrapped, in_database, in_vault_at, retired_at, destroyed_at"

_TABLES = (
    # `wrapped` (`in_database`) is what versions of Coreo before this one stored. It is copied into the vault
    # (`in_vault_at`), and goes once no process of such a version reads it any more. `retired_at`: nothing new is
    # wrapped by this version. `destroyed_at`: it is nowhere any more.
    """
    ALTER TABLE team_keys
        ALTER COLUMN wrapped DROP NOT NULL,
        ADD COLUMN in_vault_at timestamptz,
        ADD COLUMN retired_at timestamptz,
        ADD COLUMN destroyed_at timestamptz,
        ADD COLUMN in_database boolean NOT NULL DEFAULT true,
        ADD CONSTRAINT team_keys_in_database CHECK (in_database = (wrapped IS NOT NULL)),
        ADD CONSTRAINT team_keys_somewhere CHECK (wrapped IS NOT NULL OR in_vault_at IS NOT NULL),
        ADD CONSTRAINT team_keys_order CHECK (destroyed_at IS NULL OR retired_at IS NOT NULL AND wrapped IS NULL)
    """,
    """
    CREATE INDEX team_keys_due ON team_keys (team_id)
        WHERE in_database OR (retired_at IS NOT NULL AND destroyed_at IS NULL)
    """,
    "CREATE INDEX team_keys_retired ON team_keys (retired_at) WHERE retired_at IS NOT NULL",
    # Keys of a team that stay as they are while the versions of its key come and go.
    """
    CREATE TABLE team_secrets (
        team_id uuid NOT NULL,
        name text COLLATE "C" NOT NULL,
        team_key_version integer NOT NULL,
        wrapped bytea NOT NULL,
        PRIMARY KEY (team_id, name),
        FOREIGN KEY (team_id, team_key_version) REFERENCES team_keys
    )
    """,
    "ALTER TABLE run_keys ADD COLUMN generation integer NOT NULL DEFAULT 1 CHECK (generation > 0)",
    "CREATE INDEX run_keys_by_version ON run_keys (team_id, team_key_version)",
)

_GUARDS = (
    # Whoever stores something that a team key wraps holds that version until the transaction ends, and nobody can with
    # a retired one. So once a version is retired and nothing refers to it, nothing ever will.
    """
    CREATE FUNCTION check_team_key_version() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM FROM team_keys k
            WHERE k.team_id = NEW.team_id AND k.version = NEW.team_key_version AND k.retired_at IS NULL FOR SHARE;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'version % of this team''s key wraps nothing new', NEW.team_key_version
                USING ERRCODE = 'CK001';
        END IF;
        RETURN NEW;
    END $$
    """,
    *(
        f"CREATE TRIGGER live_key BEFORE INSERT OR UPDATE OF team_key_version, wrapped ON {table}"
        " FOR EACH ROW EXECUTE FUNCTION check_team_key_version()"
        for table in ("run_keys", "team_secrets")
    ),
    # What the register says only ever goes forward.
    """
    CREATE FUNCTION check_team_key_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.wrapped IS NOT NULL AND NEW.wrapped IS DISTINCT FROM OLD.wrapped
            OR OLD.in_vault_at IS NOT NULL AND NEW.in_vault_at IS DISTINCT FROM OLD.in_vault_at
            OR OLD.retired_at IS NOT NULL AND NEW.retired_at IS DISTINCT FROM OLD.retired_at
            OR OLD.destroyed_at IS NOT NULL AND NEW.destroyed_at IS DISTINCT FROM OLD.destroyed_at
        THEN
            RAISE EXCEPTION 'the register of team keys only goes forward' USING ERRCODE = 'insufficient_privilege';
        END IF;
        RETURN NEW;
    END $$
    """,
    "CREATE TRIGGER forward BEFORE UPDATE ON team_keys FOR EACH ROW EXECUTE FUNCTION check_team_key_change()",
)

_RIGHTS = (
    "ALTER TABLE team_secrets ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE team_secrets FORCE ROW LEVEL SECURITY",
    f"CREATE POLICY team ON team_secrets TO coreo_results USING ({_TEAM}) WITH CHECK ({_TEAM})",
    "GRANT SELECT, INSERT ON team_secrets TO coreo_results",
    "GRANT UPDATE (team_key_version, wrapped) ON team_secrets TO coreo_results",
    f"GRANT UPDATE ({_CHANGING}) ON team_keys TO coreo_results",
    "GRANT UPDATE (team_key_version, wrapped, generation) ON run_keys TO coreo_results",
    "GRANT UPDATE (resource_hashes, sealed) ON chunks TO coreo_results",
    # Who looks for keys to move or to destroy sees which there are, and no key.
    "CREATE POLICY system_read ON team_keys FOR SELECT TO coreo_results_system USING (true)",
    """
    GRANT SELECT (team_id, version, root_key, created_at, in_database, in_vault_at, retired_at, destroyed_at)
        ON team_keys TO coreo_results_system
    """,
)


_REFUSE = """
    DO $$ BEGIN
        IF EXISTS (SELECT FROM team_keys WHERE retired_at IS NOT NULL) THEN
            RAISE 'the key of a team has been changed: versions of Coreo before this one could not read its results';
        END IF;
    END $$
"""


def upgrade() -> None:
    """Adds to what is there; the keys themselves move when the service runs, as only it reaches root key and vault."""
    for statement in (
        *_TABLES[:1],
        *_unforced("UPDATE team_keys SET in_vault_at = now(), wrapped = NULL, in_database = false WHERE wrapped = ''"),
        *_TABLES[1:],
        *_GUARDS,
        *_RIGHTS,
    ):
        op.execute(statement)


def downgrade() -> None:
    """Refused where a team's key has been changed; keys in the vault are then out of reach, and stand as ''."""
    op.execute("DROP TRIGGER forward ON team_keys")
    op.execute("DROP FUNCTION check_team_key_change")
    for table in ("run_keys", "team_secrets"):
        op.execute(f"DROP TRIGGER live_key ON {table}")
    op.execute("DROP FUNCTION check_team_key_version")
    op.execute("DROP POLICY system_read ON team_keys")
    op.execute("REVOKE ALL ON team_keys FROM coreo_results_system")
    op.execute("REVOKE UPDATE (resource_hashes, sealed) ON chunks FROM coreo_results")
    op.execute("REVOKE UPDATE (team_key_version, wrapped, generation) ON run_keys FROM coreo_results")
    op.execute(f"REVOKE UPDATE ({_CHANGING}) ON team_keys FROM coreo_results")
    op.execute("DROP TABLE team_secrets")
    op.execute("DROP INDEX run_keys_by_version")
    op.execute("ALTER TABLE run_keys DROP COLUMN generation")
    for statement in _unforced(_REFUSE, "UPDATE team_keys SET wrapped = '', in_database = true WHERE wrapped IS NULL"):
        op.execute(statement)
    op.execute("DROP INDEX team_keys_due, team_keys_retired")
    op.execute("""
        ALTER TABLE team_keys ALTER COLUMN wrapped SET NOT NULL,
            DROP CONSTRAINT team_keys_in_database, DROP CONSTRAINT team_keys_somewhere, DROP CONSTRAINT team_keys_order,
            DROP COLUMN in_database, DROP COLUMN in_vault_at, DROP COLUMN retired_at, DROP COLUMN destroyed_at
    """)


def _unforced(*statements: str) -> tuple[str, ...]:
    """The statements between two that let the owner of the tables see all rows."""
    table = "ALTER TABLE team_keys"
    return (f"{table} NO FORCE ROW LEVEL SECURITY", *statements, f"{table} FORCE ROW LEVEL SECURITY")
