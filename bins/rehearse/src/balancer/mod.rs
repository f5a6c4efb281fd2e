//! The load balancer's data plane: listeners on machine-local addresses that forward by the rules and weights that stand in moto.
