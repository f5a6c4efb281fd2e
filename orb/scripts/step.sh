#!/bin/sh
# Runs one of gyron's programs, as the step's own process: the signal that cancels a job reaches it, and it cleans up.
if [ -z "${BASH_VERSION:-}" ] && [ -f "${BASH_ENV:-}" ]; then
  # shellcheck source=/dev/null
  . "$BASH_ENV"
fi
set -eu

fail() { # CODE MESSAGE HINT
  printf 'error: %s\nhint: %s\n' "$2" "$3" >&2
  exit "$1"
}

expand() { # VALUE: with its variables filled in, once
  [ -z "$1" ] || circleci env subst "$1"
}

directory=$(expand "$ORB_DIRECTORY")
directory=${directory:-.}
env=$(expand "${ORB_ENV:-}")
release=$(expand "${ORB_RELEASE:-}")
case /$directory/ in
  //* | */../*) fail 2 "$directory is not below the project's folder" "name it as apps/shop, in the repo that is checked out" ;;
esac
[ -d "$directory" ] || fail 2 "there is no folder $directory here" "the parameter directory names the folder of gyron.toml"
command -v "gyron-$ORB_STEP" >/dev/null || fail 5 "gyron-$ORB_STEP is not on PATH" "the command gyron/install comes first"

set -- "gyron-$ORB_STEP"
[ -z "${ORB_WHAT:-}" ] || set -- "$@" "$ORB_WHAT"
set -- "$@" --directory "$directory"
[ -z "$env" ] || set -- "$@" --env "$env"
[ -z "$release" ] || set -- "$@" --release "$release"
# CircleCI makes a boolean 1 or 0 where it is a variable.
case ${ORB_FRESH:-} in 1 | true) set -- "$@" --fresh ;; esac
echo "$*" >&2

# What this job has done is what it hands on: keep.sh reads it.
records=$directory/.gyron
mkdir -p "$records${env:+/$env}"
case ${ORB_WHAT:-} in
  back) exec "$@" --json >"$records/$env/back.json" ;;
  edge) ;;
  *) printf '%s\n' "${env:+$env/}$ORB_STEP.json" >>"$records/.ran" ;;
esac
exec "$@"
