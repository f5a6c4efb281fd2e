//! A cloud's network: namespaces, bridge, links, addresses and routes, made and taken away.
