#!/bin/sh
# A worker on a host: `worker.sh POOL LIMIT`. Brings the repository up to date, deploys, and serves the pool.
set -eu

here="$(cd "$(dirname "$0")" && pwd)"
pool="$1"
limit="$2"

if [ ! -d "$DREAMTRACE_SOURCE/.git" ]; then
    git clone "$DREAMTRACE_GIT" "$DREAMTRACE_SOURCE"
fi
cd "$DREAMTRACE_SOURCE"
git config user.name dreamtrace
git config user.email dreamtrace@localhost
git fetch --quiet origin
git merge --ff-only --quiet '@{upstream}' || echo "the clone has commits of its own; it stays where it is" >&2
dvc pull --quiet data.dvc

dreamtrace deploy --slot "$DREAMTRACE_SLOT"
exec python "$here/worker.py" \
    prefect worker start --type process --pool "$pool" --name "$DREAMTRACE_SLOT" --limit "$limit"
