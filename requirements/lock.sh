#!/usr/bin/env bash
# Compiles the hashed locks from the distributions' pyproject files. Usage: requirements/lock.sh [--upgrade]
# Each image gets a lock of its own, held to the versions of dev.txt, so that what is tested is what is shipped.
set -euo pipefail
cd "$(dirname "$0")/.."
# Releases younger than a week are left out: most bad or hijacked releases are withdrawn within days.
newest=$(python3 -c 'import datetime as d; print((d.datetime.now(d.UTC) - d.timedelta(days=7)).strftime("%Y-%m-%dT00:00:00Z"))')
compile() {
  local out=$1; shift
  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header \
    --no-emit-package coreo-shared --no-emit-package coreo-worker --exclude-newer "$newest" -o "requirements/$out" "$@"
}
compile dev.txt "$@" shared/pyproject.toml shared/cli/pyproject.toml services/{api,worker,results}/pyproject.toml \
  services/api/lint/pyproject.toml infra/embedded/pyproject.toml requirements/tools.in
for service in api worker results; do
  compile "$service.txt" -c requirements/dev.txt "services/$service/pyproject.toml"
done
compile lint.txt -c requirements/dev.txt services/api/lint/pyproject.toml
compile cli.txt -c requirements/dev.txt shared/cli/pyproject.toml
compile embedded.txt -c requirements/dev.txt infra/embedded/pyproject.toml
compile build.txt -c requirements/dev.txt requirements/build.in
compile simulator.txt "$@" requirements/simulator.in
compile rivals.txt "$@" requirements/rivals.in
