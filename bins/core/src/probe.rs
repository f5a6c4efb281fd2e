//! Asking the app over HTTP, from outside: the production listener, or one colour behind it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::failure::{Failure, OrFail as _, Result};

/// Asks one place, with the same headers each time. Redirects are answers, not ways to follow.
#[derive(Clone, Debug)]
pub struct Probe {
    client: reqwest::Client,
    base: String,
    headers: BTreeMap<String, String>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body, as UTF-8 as far as it is.
    pub body: String,
    /// From the first byte sent to the last byte received.
    pub took: Duration,
}

impl Probe {
    /// A probe of `base` (scheme, host, port; no path), each answer within `deadline`.
    ///
    /// # Errors
    /// Defect (70) where no TLS can be had.
    pub fn new(base: &str, headers: BTreeMap<String, String>, deadline: Duration) -> Result<Self> {
        let client = client(deadline).build().or_fail(|| Failure::defect("no HTTP client can be made"))?;
        Ok(Probe { client, base: base.trim_end_matches('/').to_owned(), headers })
    }

    /// Probes of `base` that open a connection for each request, so that each answer is a routing decision of its own:
    /// one probe for each address that the host's name has now.
    ///
    /// # Errors
    /// Refused (3) where the name resolves to nothing; defect (70) where no TLS can be had.
    pub async fn of_each_address(base: &str, deadline: Duration) -> Result<Vec<(SocketAddr, Self)>> {
        let url = reqwest::Url::parse(base).or_fail(|| Failure::refused(format!("{base} is no URL")))?;
        let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or(80));
        let unknown = || Failure::refused(format!("{host} resolves to no address"));
        let found = tokio::net::lookup_host((host.trim_matches(['[', ']']), port)).await.or_fail(unknown)?;
        let addresses: BTreeSet<_> = found.collect();
        if addresses.is_empty() {
            return Err(unknown());
        }
        let probes = addresses.into_iter().map(|address| {
            let client = client(deadline).pool_max_idle_per_host(0).resolve(host, address);
            let client = client.build().or_fail(|| Failure::defect("no HTTP client can be made"))?;
            Ok((address, Probe { client, base: base.trim_end_matches('/').to_owned(), headers: BTreeMap::new() }))
        });
        probes.collect()
    }

    /// GETs a path; more headers may be added.
    ///
    /// # Errors
    /// In words, why there was no answer: that is never a verdict by itself.
    pub async fn get(&self, path: &str, more: &BTreeMap<String, String>) -> std::result::Result<Answer, String> {
        let begun = Instant::now();
        let mut request = self.client.get(format!("{}{path}", self.base));
        for (name, value) in self.headers.iter().chain(more) {
            request = request.header(name, value);
        }
        let response = request.send().await.map_err(|error| reason(&error))?;
        let status = response.status().as_u16();
        let body = response.bytes().await.map_err(|error| reason(&error))?;
        let body = String::from_utf8_lossy(&body).into_owned();
        Ok(Answer { status, body, took: begun.elapsed() })
    }
}

fn client(deadline: Duration) -> reqwest::ClientBuilder {
    // Only the first of several probes installs it; all use the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .timeout(deadline)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .user_agent(concat!("gyron/", env!("CARGO_PKG_VERSION")))
}

fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut last: &dyn std::error::Error = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
