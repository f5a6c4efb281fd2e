#!/bin/sh
# Lays the records of the jobs before this one beside gyron.toml.
if [ -z "${BASH_VERSION:-}" ] && [ -f "${BASH_ENV:-}" ]; then
  # shellcheck source=/dev/null
  . "$BASH_ENV"
fi
set -eu

expand() { # VALUE: with its variables filled in, once
  [ -z "$1" ] || circleci env subst "$1"
}

directory=$(expand "$ORB_DIRECTORY")
directory=${directory:-.}
# An app's records have a folder of their own in the workspace: several apps of one repo don't meet there.
from=.gyron/.attached/.gyron/$directory
count=0
for file in "$from"/*.json "$from"/*/*.json; do
  [ -f "$file" ] || continue
  to=$directory/.gyron/${file#"$from/"}
  mkdir -p "${to%/*}"
  cp "$file" "$to"
  count=$((count + 1))
done
echo "$count records of $directory attached"
