# Fetches the specs, installs serverspec, runs rspec, brings the report back. The exit statuses are script.rs's.
# Before it stand: specs, sha256, report, GYRON_APP, GYRON_VERSION, folder; and carry.py is in the folder already.
# shellcheck shell=sh disable=SC2154
set -eu
export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 LANG=C.UTF-8 LC_ALL=C.UTF-8 GYRON_APP GYRON_VERSION
trap 'rm -rf "$folder"' EXIT
cd "$folder"

command -v python3 >/dev/null || exit 20
python3 carry.py here "$specs" specs.tar.gz || exit 21
echo "$sha256  specs.tar.gz" | sha256sum --check --quiet >&2 || exit 22
mkdir spec
tar -xzf specs.tar.gz -C spec

# What still starts is not what the specs shall see. A degraded system is no failure: the specs say what is.
system=$(timeout 180 systemctl is-system-running --wait 2>/dev/null) || true
systemctl --failed --no-legend --plain >units.log 2>/dev/null || true

command -v apt-get >/dev/null || exit 23
install() {
  apt-get update -qq &&
    apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=120 ruby-serverspec
}
# The machine's own timers may hold apt's lists at the first boot.
for attempt in 1 2 3; do
  if install >apt.log 2>&1; then break; fi
  if [ "$attempt" = 3 ]; then
    tail -n 25 apt.log >&2
    exit 24
  fi
  sleep 5
done

status=0
HOME=$folder rspec --default-path spec -I spec --no-color \
  --format documentation --out text.log --format json --out report.json </dev/null >errors.log 2>&1 || status=$?
python3 carry.py there "$report" "$status" "${system:-unknown}" || exit 25
