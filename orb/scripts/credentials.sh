#!/bin/sh
# Lets the AWS SDK in this job's later steps take a role by CircleCI's OIDC token, where there is a role and are no keys.
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

role=$(expand "$ORB_ROLE_ARN")
role=${role:-${AWS_ROLE_ARN:-}}
# As the SDK itself looks: keys in the environment come first.
if [ -n "${AWS_ACCESS_KEY_ID:-}" ]; then
  echo "AWS: by the keys of the environment"
  exit 0
fi
if [ -z "$ORB_ROLE_ARN" ] && [ -n "${AWS_WEB_IDENTITY_TOKEN_FILE:-}" ]; then
  echo "AWS: by the token in AWS_WEB_IDENTITY_TOKEN_FILE"
  exit 0
fi
if [ -z "$role" ]; then
  echo "AWS: neither keys nor a role are named, so the SDK looks on (a profile, the machine's own role)"
  exit 0
fi
case $role in
  *[!A-Za-z0-9:/+=,.@_-]*) fail 2 "the role's ARN has a character that no ARN has" "look at role_arn and AWS_ROLE_ARN" ;;
  arn:*:iam::*:role/*) ;;
  *) fail 2 "$role is no role's ARN" "arn:aws:iam::123456789012:role/NAME is one" ;;
esac
if [ -z "${CIRCLE_OIDC_TOKEN_V2:-}" ]; then
  fail 2 "CircleCI gave this job no OIDC token to take $role by" \
    "a pull request from a fork gets none; else see circleci.com/docs/guides/permissions-authentication/openid-connect-tokens"
fi

umask 077
folder=$HOME/.local/state/gyron
mkdir -p "$folder"
printf '%s' "$CIRCLE_OIDC_TOKEN_V2" >"$folder/oidc-token.new"
mv "$folder/oidc-token.new" "$folder/oidc-token"
# AWS takes 2 to 64 of these characters; CloudTrail shows them.
session=$(printf 'gyron-%s-%s' "${CIRCLE_PROJECT_REPONAME:-job}" "${CIRCLE_BUILD_NUM:-0}" |
  tr -c 'A-Za-z0-9=,.@_-' - | cut -c 1-64)
{
  printf "export AWS_ROLE_ARN='%s'\n" "$role"
  printf "export AWS_WEB_IDENTITY_TOKEN_FILE='%s'\n" "$folder/oidc-token"
  printf "export AWS_ROLE_SESSION_NAME='%s'\n" "$session"
} >>"$BASH_ENV"
echo "AWS: as $role, by CircleCI's OIDC token"
