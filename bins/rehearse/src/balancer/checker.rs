//! The checks themselves: one task a target, at its group's pace.

use std::net::{SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::Request;
use http::header::{ACCEPT_ENCODING, CONNECTION, HOST, USER_AGENT};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::health::{Finding, Record, matches};
use crate::netns::Netns;
use crate::world::HealthCheck;

/// What is checked and how. Another plan is another task.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where.
    pub to: SocketAddrV4,
    /// By which settings.
    pub settings: HealthCheck,
    /// What becomes of it.
    pub record: Arc<Mutex<Record>>,
}

impl PartialEq for Plan {
    fn eq(&self, other: &Self) -> bool {
        self.to == other.to && self.settings == other.settings && Arc::ptr_eq(&self.record, &other.record)
    }
}

/// Checks at once and then at every interval, until told to stop. How long an answer takes doesn't shift the next check.
pub async fn run(plan: Plan, inside: Netns, stop: CancellationToken) {
    // A period of zero would panic; AWS's least is 5 s.
    let mut ticks = interval(plan.settings.interval.max(std::time::Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let finding = async {
            ticks.tick().await;
            check(&plan, &inside).await
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            finding = finding => {
                let mut record = plan.record.lock().unwrap_or_else(PoisonError::into_inner);
                *record = record.after(finding, &plan.settings);
            }
        }
    }
}

/// One check, on a connection of its own, as the real one makes it.
async fn check(plan: &Plan, inside: &Netns) -> Finding {
    if plan.settings.protocol != "HTTP" {
        return Finding::Impossible;
    }
    match timeout(plan.settings.timeout, ask(plan, inside)).await {
        Err(_) => Finding::TimedOut,
        Ok(None) => Finding::Failed,
        Ok(Some(status)) if matches(&plan.settings.matcher, status) => Finding::Passed,
        Ok(Some(status)) => Finding::Mismatch(status),
    }
}

/// The status that came; `None` where no connection or no HTTP came of it.
async fn ask(plan: &Plan, inside: &Netns) -> Option<u16> {
    let stream = inside.connect(SocketAddr::V4(plan.to)).await.ok()?;
    let (mut sender, connection) =
        http1::Builder::new().title_case_headers(true).handshake::<_, Empty<Bytes>>(TokioIo::new(stream)).await.ok()?;
    let request = Request::get(plan.settings.path.as_str())
        .header(HOST, plan.to.to_string())
        .header(CONNECTION, "close")
        .header(USER_AGENT, "ELB-HealthChecker/2.0")
        .header(ACCEPT_ENCODING, "gzip, compressed")
        .body(Empty::new())
        .ok()?;
    let answer = async {
        let response = sender.send_request(request).await.ok()?;
        let status = response.status().as_u16();
        // Read to the end, or the app would log a client that went away.
        response.into_body().collect().await.ok()?;
        Some(status)
    };
    tokio::pin!(answer, connection);
    // In one task, so that a check that is given up leaves nothing behind.
    tokio::select! {
        biased;
        status = &mut answer => status,
        _ = &mut connection => answer.await,
    }
}
