//! The bodies of instances and images: systemd containers and committed container images that follow what moto says.
