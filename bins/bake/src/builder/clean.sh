# Leaves an image that boots as new: no identity, no caches, no logs, nothing of the bake.
# shellcheck shell=sh
set -eu
if command -v apt-get >/dev/null; then apt-get clean; rm -rf /var/lib/apt/lists/*; fi
rm -rf /var/cache/dnf /var/cache/yum
rm -f /var/cache/debconf/*-old /var/lib/dpkg/*-old
# Of a home's cache only what package managers refill: others keep there what a program needs to run, such as a browser.
for home in /root /home/*; do
  rm -rf "$home/.cache/pip" "$home/.cache/yarn" "$home/.cache/composer" "$home/.npm/_cacache" "$home/.npm/_logs"
  rm -rf "$home/.ansible/tmp" "$home/.ansible/cp" "$home/.ansible_async"
  rmdir "$home/.ansible" 2>/dev/null || true
  rm -f "$home"/.*_history "$home/.viminfo" "$home/.lesshst" "$home/.wget-hsts"
done
rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub
rm -f /var/lib/systemd/random-seed /var/lib/systemd/credential.secret
rm -f /var/lib/dhcp/*.leases /var/lib/dhcp/*.leases~ /var/lib/NetworkManager/*.lease
rm -rf /var/lib/systemd/coredump/* /var/crash/*
# What account tools keep of the state before: one boot more, and it is another.
rm -f /etc/passwd- /etc/shadow- /etc/group- /etc/gshadow- /etc/subuid- /etc/subgid-
# cloud-init writes them at each instance's first boot, and appends to those that it finds: each layer would have them once more.
rm -f /etc/sudoers.d/90-cloud-init-users
# The builder's own name, which cloud-init writes; one that the play gave stays.
case "$(hostname)" in
  ip-* | i-*)
    grep -vw "127.0.1.1.*$(hostname)" /etc/hosts > /run/gyron-hosts || true
    cat /run/gyron-hosts > /etc/hosts
    ;;
esac
# Not --machine-id: Debian 12's cloud-init removes the file, systemd then takes the next boot for the first of all and
# enables every unit again that the playbook had disabled. An empty file does not do that (machine-id(5)).
if command -v cloud-init >/dev/null; then cloud-init clean --logs; fi
: > /etc/machine-id
if [ -f /var/lib/dbus/machine-id ] && [ ! -L /var/lib/dbus/machine-id ]; then : > /var/lib/dbus/machine-id; fi
journalctl --relinquish-var
rm -rf /var/log/journal/*
find /var/log -xdev -type f \( -name '*.gz' -o -name '*.xz' -o -regex '.*\.[0-9]+' \) -delete
find /var/log -xdev -type f -size +0 ! -path '/var/log/amazon/*' -exec truncate -s 0 {} +
# What still runs writes on, this script's own agent among it: the rest can go only after them. Units stop in the reverse of their
# order. Unit and script stand in /run, which no image holds.
mkdir -p /run/systemd/system
cat > /run/gyron-seal.sh <<'SEAL'
rm -rf /var/lib/amazon/ssm/i-* /var/lib/amazon/ssm/ipc /var/lib/amazon/ssm/localcommands /var/log/amazon/ssm/*
rm -f /var/lib/systemd/random-seed /etc/ssh/ssh_host_*_key*
# A timer that is said to have run long ago runs at the first boot, and holds up apt there.
rm -f /var/lib/systemd/timers/stamp-*
: > /etc/machine-id
# The distribution's own logs, which the syslog daemon makes when it first has something to write: all of them are there, empty, so
# that it is not to be seen whether a builder was up when cron ran.
logs=$(sed -n 's|^[^#]*[[:space:]]-\{0,1\}\(/var/log/[^[:space:];]*\).*|\1|p' /etc/rsyslog.conf /etc/rsyslog.d/50-default.conf 2>/dev/null)
like=
for log in $logs; do
  if [ -f "$log" ]; then like=$log && break; fi
done
for log in $logs; do
  if [ -n "$like" ] && [ ! -e "$log" ] && [ ! -L "$log" ]; then
    : > "$log" && chown --reference="$like" "$log" && chmod --reference="$like" "$log"
  fi
done
find /var/log -xdev -type f -size +0 -exec truncate -s 0 {} +
find /tmp /var/tmp -xdev -mindepth 1 -delete
SEAL
cat > /run/systemd/system/gyron-seal.service <<'UNIT'
[Unit]
Description=Remove the last traces when the builder stops
DefaultDependencies=no
After=local-fs.target
# systemd-random-seed writes its file when it stops.
Before=systemd-random-seed.service amazon-ssm-agent.service snap.amazon-ssm-agent.amazon-ssm-agent.service systemd-update-utmp.service sysinit.target
Conflicts=shutdown.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
ExecStop=/bin/sh /run/gyron-seal.sh
UNIT
systemctl daemon-reload
systemctl start gyron-seal.service
