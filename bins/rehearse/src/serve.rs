//! The daemon behind a cloud: moto, gateway, metadata service, resolver, balancer, and the loop that keeps bodies in line.
