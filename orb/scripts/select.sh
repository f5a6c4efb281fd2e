#!/bin/sh
# Writes down what install.sh will install, so that the cache's key changes with it and with nothing else.
set -eu
mkdir -p .gyron
{
  printf '%s\n' "$ORB_SUMS"
  # CircleCI writes a boolean as 1 or 0, and as true or false.
  case $ORB_TERRAFORM in
    1 | true) printf '%s\n' "$ORB_TERRAFORM_SUMS" ;;
  esac
} >.gyron/.sums
