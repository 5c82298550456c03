-- The database roles of Coreo, for psql as an administrator. Passwords come through the environment, one variable per
-- role in capitals: COREO_API_OWNER_PASSWORD, COREO_API_PASSWORD and so on. May run again: it then sets the passwords.
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

ALTER ROLE coreo_api_owner LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOREPLICATION NOBYPASSRLS PASSWORD :'api_owner_password';
ALTER ROLE coreo_api LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOREPLICATION NOBYPASSRLS PASSWORD :'api_password';
ALTER ROLE coreo_api_system LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOREPLICATION NOBYPASSRLS PASSWORD :'api_system_password';
ALTER ROLE coreo_results_owner LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOREPLICATION NOBYPASSRLS PASSWORD :'results_owner_password';
ALTER ROLE coreo_results LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOREPLICATION NOBYPASSRLS PASSWORD :'results_password';
ALTER ROLE coreo_results_system LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOREPLICATION NOBYPASSRLS PASSWORD :'results_system_password';

-- Out of the cluster's own databases too: every new database is open to PUBLIC unless said otherwise.
REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC;
