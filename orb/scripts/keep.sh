#!/bin/sh
# Lays out what a job leaves: to the workspace the records that it made itself, to CircleCI all records, logs, JUnit and the
# list of packages.
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
# Refused by step.sh; this runs after a refusal, too.
case /$directory/ in
  //* | */../*) exit 0 ;;
esac
records=$directory/.gyron
results=.gyron/.results
# Two jobs side by side must not hand on the same file, so none hands on what it only got.
persisted=.gyron/.persisted/.gyron/$directory
mkdir -p "$results/junit" "$persisted"

# Not the whole of .gyron: Terraform's folders hold its providers.
for file in "$records"/*.json "$records"/*/*.json "$records/packages.txt"; do
  [ -f "$file" ] || continue
  to=$results/${file#"$records/"}
  mkdir -p "${to%/*}"
  cp "$file" "$to"
done
for folder in junit logs; do
  [ ! -d "$records/$folder" ] || cp -R "$records/$folder" "$results/"
done
[ ! -f "$records/.ran" ] || while IFS= read -r name; do
  [ -f "$records/$name" ] || continue
  to=$persisted/$name
  mkdir -p "${to%/*}"
  cp "$records/$name" "$to"
done <"$records/.ran"
echo "$(find "$results" -type f | wc -l) files kept for CircleCI"
