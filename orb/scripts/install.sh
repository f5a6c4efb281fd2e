#!/bin/sh
# Installs gyron's six steps, and Terraform where it is asked for, into $HOME/.local/bin. The sums of both were put into
# the orb when it was packed: whatever brings a file, its bytes are these or it is refused.
if [ -z "${BASH_VERSION:-}" ] && [ -f "${BASH_ENV:-}" ]; then
  # Only bash reads it by itself; an image without bash runs this by its own sh.
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

is_true() { # VALUE: CircleCI writes a boolean as 1 or 0, and as true or false
  case $1 in
    1 | true) return 0 ;;
    *) return 1 ;;
  esac
}

need() { # PROGRAM PACKAGE
  command -v "$1" >/dev/null || fail 5 "there is no $1 here" "take an image that has it, or install $2 in pre-steps"
}

sum_of() { # FILE
  sha256sum "$1" | cut -d ' ' -f 1
}

# Brings NAME into $kept: what a cache kept, else from the local folder, else from the mirror or its publisher.
obtain() { # NAME SHA256 PUBLISHER
  if [ -f "$kept/$1" ]; then
    if [ "$(sum_of "$kept/$1")" = "$2" ]; then
      echo "$1: kept by a cache, sha256 verified"
      return
    fi
    echo "$1: what the cache kept has another sha256, so it is fetched anew"
    rm -f "$kept/$1"
  fi
  if [ -n "$archives" ] && [ -f "$archives/$1" ]; then
    source=$archives/$1
    cp "$source" "$kept/$1.new"
  else
    source=${mirror:-$3}/$1
    need curl curl
    curl --fail --location --silent --show-error --retry 5 --retry-all-errors --connect-timeout 20 --max-time 900 \
      --output "$kept/$1.new" "$source" ||
      fail 5 "$source can't be fetched" "the parameters mirror and archives name other places to take it from"
  fi
  found=$(sum_of "$kept/$1.new")
  if [ "$found" != "$2" ]; then
    rm -f "$kept/$1.new"
    printf 'error: %s has the wrong content\n  sha256 expected %s\n  sha256 found    %s\n' "$source" "$2" "$found" >&2
    printf 'hint: the orb and the archive are of two releases, or somebody changed the archive\n' >&2
    exit 3
  fi
  mv "$kept/$1.new" "$kept/$1"
  echo "$1: from $source, sha256 verified"
}

steps_stand() { # VERSION: whether all six on PATH are of it
  for step in package bake spec launch smoke swap; do
    [ "$("gyron-$step" --version 2>/dev/null)" = "gyron-$step $1" ] || return 1
  done
}

# gyron-launch locks its state in S3, which is stable from 1.11 on.
terraform_stands() {
  command -v terraform >/dev/null || return 1
  number=$(CHECKPOINT_DISABLE=1 terraform version 2>/dev/null | sed -n '1s/^Terraform v\([0-9]*\.[0-9]*\)\..*/\1/p')
  case $number in
    0.* | 1.[0-9] | 1.10 | '') return 1 ;;
  esac
}

unzip_into() { # ARCHIVE FOLDER
  if command -v unzip >/dev/null; then
    unzip -q -o "$1" terraform -d "$2"
  else
    need python3 'unzip or python3'
    python3 -m zipfile -e "$1" "$2"
  fi
}

case $(uname -s)-$(uname -m) in
  Linux-x86_64 | Linux-amd64) architecture=amd64 ;;
  Linux-aarch64 | Linux-arm64) architecture=arm64 ;;
  *) fail 2 "gyron has no programs for $(uname -s) on $(uname -m)" "take a Linux executor, amd64 or arm64" ;;
esac
line_of() { # SUMS: the line of this machine's archive: its sum, two spaces, its name
  printf '%s\n' "$1" | grep "[-_]linux[-_]$architecture\." || fail 70 "the orb was packed without a sum for $architecture" \
    "scripts/release --sums writes orb/scripts/sums before the orb is packed"
}

archives=$(expand "$ORB_ARCHIVES")
mirror=$(expand "$ORB_MIRROR")
mirror=${mirror%/}
bin=$HOME/.local/bin
kept=$HOME/.cache/gyron
mkdir -p "$bin" "$kept"
PATH=$bin:$PATH
line="export PATH=\"$bin:\$PATH\""
grep -qxF "$line" "$BASH_ENV" 2>/dev/null || printf '%s\n' "$line" >>"$BASH_ENV"
work=$(mktemp -d "$bin/.gyron-XXXXXX")
trap 'rm -rf "$work"' EXIT

line=$(line_of "$ORB_SUMS")
archive=${line##* }
version=${archive#gyron-}
version=${version%%-linux-*}
if steps_stand "$version"; then
  echo "gyron $version: stands already, at $(command -v gyron-package)"
else
  if [ -n "$archives" ] && [ ! -f "$archives/$archive" ]; then
    fail 2 "$archives has no $archive" "scripts/release --to $archives makes it"
  fi
  need xz xz-utils
  obtain "$archive" "${line%% *}" "https://github.com/tama/gyron/releases/download/v$version"
  tar -xJf "$kept/$archive" -C "$work"
  mv "$work/${archive%.tar.xz}"/gyron-* "$bin/"
  hash -r
  steps_stand "$version" || fail 5 "the programs of $archive do not run here" "gyron-package --version says why"
  echo "gyron $version: installed into $bin"
fi

if is_true "$ORB_TERRAFORM"; then
  if terraform_stands; then
    echo "Terraform: stands already, at $(command -v terraform)"
  else
    line=$(line_of "$ORB_TERRAFORM_SUMS")
    archive=${line##* }
    version=${archive#terraform_}
    version=${version%%_linux_*}
    obtain "$archive" "${line%% *}" "https://releases.hashicorp.com/terraform/$version"
    unzip_into "$kept/$archive" "$work"
    chmod 755 "$work/terraform"
    mv "$work/terraform" "$bin/terraform"
    echo "Terraform $version: installed into $bin"
  fi
fi
