# Leaves an image that boots as new: no identity, no caches, no logs, nothing of the bake.
# shellcheck shell=sh
set -eu
if command -v apt-get >/dev/null; then apt-get clean; rm -rf /var/lib/apt/lists/*; fi
rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub
rm -f /var/lib/systemd/random-seed /var/lib/systemd/credential.secret
rm -f /var/lib/dhcp/*.leases /var/lib/dhcp/*.leases~
find /root /home -maxdepth 3 -path '*/.ssh/authorized_keys' -delete
rm -f /root/.bash_history /home/*/.bash_history
# Not --machine-id: Debian 12's cloud-init removes the file, systemd then takes the next boot for the first of all and
# enables every unit again that the playbook had disabled. An empty file does not do that (machine-id(5)).
if command -v cloud-init >/dev/null; then cloud-init clean --logs; fi
: > /etc/machine-id
journalctl --relinquish-var
rm -rf /var/log/journal/*
find /var/log -xdev -type f \( -name '*.gz' -o -regex '.*\.[0-9]+' \) -delete
find /var/log -xdev -type f -size +0 ! -path '/var/log/amazon/*' -exec truncate -s 0 {} +
# The agent runs this very script, so its own traces can go only after it: units stop in the reverse of their order.
# The unit stands in /run, which no image holds.
mkdir -p /run/systemd/system
cat > /run/systemd/system/gyron-seal.service <<'UNIT'
[Unit]
Description=Remove the agent's traces when the builder stops
DefaultDependencies=no
After=local-fs.target
Before=amazon-ssm-agent.service snap.amazon-ssm-agent.amazon-ssm-agent.service sysinit.target
Conflicts=shutdown.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
ExecStop=/bin/sh -c 'rm -rf /var/lib/amazon/ssm/i-* /var/lib/amazon/ssm/ipc /var/lib/amazon/ssm/localcommands /var/log/amazon/ssm/*; rm -f /var/lib/systemd/random-seed /etc/ssh/ssh_host_*_key*; : > /etc/machine-id; find /tmp /var/tmp -xdev -mindepth 1 -delete'
UNIT
systemctl daemon-reload
systemctl start gyron-seal.service
sync
