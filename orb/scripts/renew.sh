#!/bin/sh
# Mints an OIDC token again before the hour of the last one is over: the SDK reads the file whenever it renews the role's
# keys, so that a bake may take longer than a token lives. Runs in the background as long as the job.
set -eu
file=$HOME/.local/state/gyron/oidc-token
if [ ! -f "$file" ]; then
  echo "no token is in use"
  exit 0
fi
umask 077
wait=1500
while sleep "$wait"; do
  # The default token's audience is the organization's id: the role's trust policy names it.
  if circleci run oidc get --claims "{\"aud\": \"$CIRCLE_ORGANIZATION_ID\"}" >"$file.new" && [ -s "$file.new" ]; then
    mv "$file.new" "$file"
    echo "$(date -u +%H:%M:%S) a new token, good for an hour"
    wait=1500
  else
    echo "$(date -u +%H:%M:%S) no new token; tried again in a minute"
    wait=60
  fi
done
