#!/bin/sh
# Tells CircleCI's deploys page how a deploy goes. A word that doesn't arrive there stops no deploy.
if [ -z "${BASH_VERSION:-}" ] && [ -f "${BASH_ENV:-}" ]; then
  # shellcheck source=/dev/null
  . "$BASH_ENV"
fi
set -eu

expand() { # VALUE: with its variables filled in, once
  [ -z "$1" ] || circleci env subst "$1"
}

tell() { # ARGUMENT...
  circleci run release "$@" || echo "CircleCI's deploys page did not hear of this; the deploy goes on" >&2
}

directory=$(expand "$ORB_DIRECTORY")
records=${directory:-.}/.gyron
env=$(expand "$ORB_ENV")
app=$(sed -n 's/^app *= *"\([^"]*\)".*/\1/p' "${directory:-.}/gyron.toml" 2>/dev/null || true)
app=${app:-${CIRCLE_PROJECT_REPONAME:-app}}
set -- --environment-name="$env" --component-name="$app"

case $ORB_MOMENT in
  begun)
    version=$(sed -n 's/^ *"name": "\([^"]*\)".*/\1/p' "$records/package.json" 2>/dev/null | head -n 1) || true
    if [ -z "$version" ]; then
      echo "no record of a package is here: gyron says more of that" >&2
      exit 0
    fi
    tell plan "$app-$env" "$@" --target-version="$version"
    tell update "$app-$env" --status=RUNNING
    ;;
  succeeded) tell update "$app-$env" --status=SUCCESS ;;
  failed)
    step=$(sed -n '$s/.*\/\(.*\)\.json/\1/p' "$records/.ran" 2>/dev/null || true)
    tell update "$app-$env" --status=FAILED --failure-reason="gyron-${step:-launch} failed"
    ;;
  canceled) tell update "$app-$env" --status=CANCELED ;;
  returned)
    version=$(sed -n 's/.*"live":{[^}]*"version":"\([^"]*\)".*/\1/p' "$records/$env/back.json")
    tell log "$@" --target-version="$version"
    ;;
esac
