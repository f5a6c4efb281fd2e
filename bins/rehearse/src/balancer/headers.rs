//! What the balancer does to headers, by "HTTP headers and Application Load Balancers", "Request tracing" and
//! "Load balancer attributes" of the user guide, with the attributes' defaults.

use std::net::{Ipv4Addr, SocketAddrV4};

use http::header::{CONNECTION, EXPECT, HOST, HeaderName, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue};

/// Headers that speak of one connection only (RFC 9110, 7.6.1); those that Connection names come on top.
const HOP_BY_HOP: [HeaderName; 7] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");

/// Takes away what speaks of one connection only.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in HOP_BY_HOP.iter().chain(&named) {
        headers.remove(name);
    }
}

/// The protocol that a client asks to switch to.
#[must_use]
pub fn upgrade(headers: &HeaderMap) -> Option<&HeaderValue> {
    let asked = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.split(',').any(|option| option.trim().eq_ignore_ascii_case("upgrade")));
    headers.get(UPGRADE).filter(|_| asked)
}

/// Where a request came from and at which listener.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The client's address.
    pub client: Ipv4Addr,
    /// The listener's address and port.
    pub at: SocketAddrV4,
}

/// Makes a client's headers those that the target gets. `trace` is the time and 96 random bits of a new trace id.
pub fn rewrite(headers: &mut HeaderMap, route: Route, trace: (u64, u128)) {
    let upgrade = upgrade(headers).cloned();
    strip_hop_by_hop(headers);
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
    // The balancer says 100 Continue itself and doesn't pass the header on.
    headers.remove(EXPECT);
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    if let Some(Ok(host)) = target_host(host, route.at).map(HeaderValue::try_from) {
        headers.insert(HOST, host);
    }
    let chain: Vec<&str> = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok()).collect();
    let client = route.client.to_string();
    let chain = if chain.is_empty() { client } else { format!("{}, {client}", chain.join(", ")) };
    let trace = trace_id(headers.get(TRACE_ID).and_then(|value| value.to_str().ok()), trace.0, trace.1);
    for (name, value) in [
        (FORWARDED_FOR, chain),
        (FORWARDED_PROTO, "http".to_owned()),
        (FORWARDED_PORT, route.at.port().to_string()),
        (TRACE_ID, trace),
    ] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
}

/// The Host header for the target where it isn't the client's own: `routing.http.preserve_host_header.enabled` is false
/// by default, and the balancer then appends the listener's port if the client named none and it isn't 80.
fn target_host(host: Option<&str>, at: SocketAddrV4) -> Option<String> {
    match host {
        None => Some(at.to_string()),
        Some(host) if at.port() != 80 && split_port(host).1.is_none() => Some(format!("{host}:{}", at.port())),
        Some(_) => None,
    }
}

/// A host and its port, if it has one.
#[must_use]
pub fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => (name, Some(port)),
        _ => (host, None),
    }
}

/// `X-Amzn-Trace-Id`: a Root where there is none, else a Self in front, which replaces the one that was there.
fn trace_id(sent: Option<&str>, seconds: u64, random: u128) -> String {
    let id = format!("1-{:08x}-{:024x}", seconds & 0xffff_ffff, random & ((1 << 96) - 1));
    let fields: Vec<&str> = sent
        .unwrap_or_default()
        .split(';')
        .map(str::trim)
        .filter(|field| !field.is_empty() && !field.starts_with("Self="))
        .collect();
    let own = if fields.iter().any(|field| field.starts_with("Root=")) { "Self" } else { "Root" };
    let mut text = format!("{own}={id}");
    for field in fields {
        text.push(';');
        text.push_str(field);
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const ROUTE: Route =
        Route { client: Ipv4Addr::new(198, 18, 3, 9), at: SocketAddrV4::new(Ipv4Addr::new(198, 18, 3, 20), 8080) };

    fn rewritten(sent: &[(&str, &str)]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        rewrite(&mut headers, ROUTE, (0x6789_1233, 0xabc));
        let mut lines: Vec<String> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        lines
    }

    #[test]
    fn a_request_gets_the_documented_headers_and_loses_what_is_of_one_connection() {
        let sent = [
            ("host", "shop.example.com"),
            ("connection", "keep-alive, X-Private"),
            ("x-private", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("expect", "100-continue"),
            ("accept", "*/*"),
        ];
        assert_eq!(
            rewritten(&sent),
            [
                "accept: */*",
                "host: shop.example.com:8080",
                "x-amzn-trace-id: Root=1-67891233-000000000000000000000abc",
                "x-forwarded-for: 198.18.3.9",
                "x-forwarded-port: 8080",
                "x-forwarded-proto: http",
            ]
        );
    }

    #[test]
    fn what_is_there_already_is_continued_or_replaced() {
        let sent = [
            ("host", "shop.example.com:80"),
            ("x-forwarded-for", "203.0.113.1"),
            ("x-forwarded-for", "203.0.113.2"),
            ("x-forwarded-proto", "https"),
            ("x-amzn-trace-id", "Self=1-1-2;Root=1-67891233-abcdef012345678912345678;CalledFrom=app"),
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
        ];
        assert_eq!(
            rewritten(&sent),
            [
                "connection: upgrade",
                "host: shop.example.com:80",
                "upgrade: websocket",
                "x-amzn-trace-id: Self=1-67891233-000000000000000000000abc;Root=1-67891233-abcdef012345678912345678;\
                 CalledFrom=app",
                "x-forwarded-for: 203.0.113.1, 203.0.113.2, 198.18.3.9",
                "x-forwarded-port: 8080",
                "x-forwarded-proto: http",
            ]
        );
    }
}
