#!/bin/bash
# Runs once, when PostgreSQL makes its data: Coreo's roles, with the passwords of the environment, and its databases.
set -euo pipefail
psql --no-psqlrc --username postgres --file /coreo/database/roles.sql
for service in coreo_api coreo_results; do
  psql --no-psqlrc --username postgres --file /coreo/database/database.sql \
    --variable database=$service --variable service=$service --variable template=template0
done
