-- One service's database, for psql as an administrator, after roles.sql. Variables (psql -v): database, service
-- (coreo_api or coreo_results), template (template0, or a migrated database to copy; its grants inside come along,
-- those on the database itself do not).
\set ON_ERROR_STOP on
\set owner :service _owner
\set system :service _system

-- Whoever is no superuser may give a database to a role that it could become, and must be its owner to close it.
GRANT :"owner" TO CURRENT_USER;
CREATE DATABASE :"database" OWNER :"owner" TEMPLATE :"template";

-- Only this service's roles may connect, so the api cannot open the results database and the other way round. The
-- schema belongs to the owner role; PUBLIC cannot create in it.
SET ROLE :"owner";
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"database" TO :"service", :"system";
RESET ROLE;
REVOKE :"owner" FROM CURRENT_USER;
