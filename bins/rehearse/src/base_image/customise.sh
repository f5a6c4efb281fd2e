#!/bin/sh
# Makes what mmdebstrap laid out into a cloud image.
# $1: a folder with what the host has: sources.list, proxy.conf, authorities.pem (the last two may be empty). $2: the root.
set -eu
host=$1 root=$2

# Empty where the host names no mirror: mmdebstrap has then written its own.
if [ -s "$host/sources.list" ]; then
  cp "$host/sources.list" "$root/etc/apt/sources.list"
  rm -f "$root"/etc/apt/sources.list.d/*
fi
if [ -s "$host/proxy.conf" ]; then cp "$host/proxy.conf" "$root/etc/apt/apt.conf.d/90proxy"; fi
# The authorities that only the host trusts, such as a company's proxy's.
bundle=$root/etc/ssl/certs/ca-certificates.crt
mkdir -p "$root/usr/local/share/ca-certificates"
awk -v known="$bundle" -v folder="$root/usr/local/share/ca-certificates" '
    BEGIN { while ((getline line < known) > 0) seen[line] = 1 }
    /BEGIN CERTIFICATE/ { text = ""; new = 0; inside = 1 }
    inside { text = text $0 "\n"; if (!($0 in seen)) new = 1 }
    /END CERTIFICATE/ { if (inside && new) printf "%s", text > (folder "/host-" ++count ".crt"); inside = 0 }
' "$host/authorities.pem"
if [ -n "$(ls "$root/usr/local/share/ca-certificates")" ]; then
    chroot "$root" update-ca-certificates
fi

# One source of metadata, asked for without a look at the firmware, which says nothing of EC2 here.
cat > "$root/etc/cloud/ds-identify.cfg" <<'END'
policy: enabled
END
# The links are set up from outside, as the hypervisor would by DHCP. Without a locale that exists, cloud-init's config stage fails.
cat > "$root/etc/cloud/cloud.cfg.d/90_dpkg.cfg" <<'END'
datasource_list: [ Ec2 ]
END
cat > "$root/etc/cloud/cloud.cfg.d/95_rehearsal.cfg" <<'END'
datasource:
  Ec2:
    strict_id: false
    # Its other default is a name, and asking for that takes as long as a resolver takes to say no.
    metadata_urls: [ "http://169.254.169.254:80" ]
    max_wait: 20
    timeout: 5
network: { config: disabled }
apt: { preserve_sources_list: true }
locale: C.UTF-8
# The container's name is given from outside as well. As in Debian's cloud images, /etc/hosts has it.
preserve_hostname: true
manage_etc_hosts: true
growpart: { mode: "off" }
resize_rootfs: false
END

# A container has no console logins, devices or clock of its own, and the kernel's file systems are the host's.
for unit in getty.target console-getty.service systemd-udevd.service systemd-timesyncd.service dev-hugepages.mount \
    sys-fs-fuse-connections.mount sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount \
    proc-sys-fs-binfmt_misc.automount; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
# What an app installs later comes whole, manuals and translations too.
rm -f "$root/etc/dpkg/dpkg.cfg.d/99mmdebstrap"
echo LANG=C.UTF-8 > "$root/etc/default/locale"

# Each instance gets these at its first boot: one image, many machines.
rm -f "$root"/etc/ssh/ssh_host_*_key "$root"/etc/ssh/ssh_host_*_key.pub
: > "$root/etc/machine-id"
rm -f "$root/var/lib/dbus/machine-id" "$root/etc/hostname" "$root/etc/resolv.conf"
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/log/*.log "$root"/var/log/apt "$root"/var/cache/apt/*.bin
