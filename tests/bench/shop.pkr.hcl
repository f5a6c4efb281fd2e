# The shop, baked as Packer's users do: by ssh, with the same playbook, release, Ansible and clean-up as gyron-bake has.
variable "endpoint" { type = string }
variable "base" { type = string }
variable "name" { type = string }
variable "version" { type = string }
variable "ansible" { type = string } # the playbook's folder
variable "release" { type = string } # the release's folder
variable "toolkit" { type = string } # gyron's archive of ansible-core
variable "clean" { type = string }   # gyron's clean-up

source "amazon-ebs" "shop" {
  region              = "us-east-1"
  custom_endpoint_ec2 = var.endpoint
  source_ami          = var.base
  instance_type       = "t3.small"
  ssh_username        = "debian"
  ssh_interface       = "private_ip"
  ami_name            = var.name
  tags                = { Name = var.name }
  snapshot_tags       = { Name = var.name }
  run_tags            = { Name = var.name }
}

build {
  sources = ["source.amazon-ebs.shop"]

  # apt may still be cloud-init's: what everybody's template begins with.
  provisioner "shell" {
    inline = ["cloud-init status --wait >/dev/null || true", "mkdir /tmp/release"]
  }
  provisioner "file" {
    source      = var.toolkit
    destination = "/tmp/toolkit.tar.gz"
  }
  provisioner "file" {
    source      = var.release
    destination = "/tmp/release"
  }
  provisioner "shell" {
    inline = [
      "sudo mkdir -p /var/lib/packer/toolkit",
      "sudo tar -xzf /tmp/toolkit.tar.gz -C /var/lib/packer/toolkit",
      "printf '#!/bin/sh\\nPYTHONPATH=/var/lib/packer/toolkit exec python3 -B -m ansible playbook \"$@\"\\n' > /tmp/play",
    ]
  }
  provisioner "ansible-local" {
    playbook_dir            = var.ansible
    playbook_file           = "${var.ansible}/site.yml"
    command                 = "sudo LC_ALL=C.UTF-8 ANSIBLE_PIPELINING=1 ANSIBLE_PYTHON_INTERPRETER=/usr/bin/python3 sh /tmp/play"
    extra_arguments         = ["-e", "gyron_version=${var.version}", "-e", "gyron_release_dir=/tmp/release"]
    clean_staging_directory = true
  }
  provisioner "shell" {
    script          = var.clean
    execute_command = "sudo rm -rf /var/lib/packer /tmp/toolkit.tar.gz /tmp/release /tmp/play && sudo sh {{ .Path }}"
  }
}
