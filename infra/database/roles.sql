-- The database roles of Coreo, for psql as an administrator. Passwords come through the environment, one variable per
-- role in capitals: COREO_API_OWNER_PASSWORD, COREO_API_PASSWORD and so on. May run again: it then sets the passwords.
--
-- The administrator is a superuser or, as on RDS, one with CREATEROLE and CREATEDB.
--
-- Per service: the owner makes the tables (migrations only), the service role answers requests under row level security,
-- the system role runs background jobs across teams, with policies of its own. None may bypass row level security.
\set ON_ERROR_STOP on
\getenv api_owner_password COREO_API_OWNER_PASSWORD
\getenv api_password COREO_API_PASSWORD
\getenv api_system_password COREO_API_SYSTEM_PASSWORD
\getenv results_owner_password COREO_RESULTS_OWNER_PASSWORD
\getenv results_password COREO_RESULTS_PASSWORD
\getenv results_system_password COREO_RESULTS_SYSTEM_PASSWORD

SELECT format('CREATE ROLE %I', wanted)
FROM unnest(ARRAY['coreo_api_owner', 'coreo_api', 'coreo_api_system',
                  'coreo_results_owner', 'coreo_results', 'coreo_results_system']) AS wanted
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) \gexec

ALTER ROLE coreo_api_owner LOGIN NOCREATEDB NOCREATEROLE NOINHERIT PASSWORD :'api_owner_password';
ALTER ROLE coreo_api LOGIN NOCREATEDB NOCREATEROLE NOINHERIT PASSWORD :'api_password';
ALTER ROLE coreo_api_system LOGIN NOCREATEDB NOCREATEROLE NOINHERIT PASSWORD :'api_system_password';
ALTER ROLE coreo_results_owner LOGIN NOCREATEDB NOCREATEROLE NOINHERIT PASSWORD :'results_owner_password';
ALTER ROLE coreo_results LOGIN NOCREATEDB NOCREATEROLE NOINHERIT PASSWORD :'results_password';
ALTER ROLE coreo_results_system LOGIN NOCREATEDB NOCREATEROLE NOINHERIT PASSWORD :'results_system_password';

-- Only a superuser may name these rights, even to take them away; a new role has none of them.
DO $$ BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname IN ('coreo_api_owner', 'coreo_api', 'coreo_api_system',
      'coreo_results_owner', 'coreo_results', 'coreo_results_system') AND (rolsuper OR rolbypassrls OR rolreplication))
  THEN RAISE 'a role of Coreo may bypass row level security, replicate or is a superuser: take that right from it';
  END IF;
END $$;

-- Out of the cluster's own databases too: every new database is open to PUBLIC unless said otherwise. On RDS
-- they are not the administrator's, and this gives a warning alone: there is nothing in them.
REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC;
