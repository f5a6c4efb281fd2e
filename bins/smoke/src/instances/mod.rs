//! Asking on each instance, by SSM: what the balancer would ask it, from the instance itself.

use std::io::Read as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use gyron_core::agent;
use gyron_core::aws::Aws;
use gyron_core::console::Console;
use gyron_core::failure::{Failure, OrFail as _, Result};
use gyron_core::ids::InstanceId;
use gyron_core::run_command::{self, Reply, Script};
use gyron_core::stop::Stop;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, LocalSet};

use crate::asking::{End, Patience, Pause, Standing};
use crate::check::{Check, Seen};
use crate::verdict::{Finding, Place};

const ASK: &str = include_str!("ask.py");

/// How many instances are asked at a time: SSM's calls are throttled by account.
const AT_A_TIME: usize = 8;

/// The longest that an app may take to answer, in seconds.
const REQUEST: u64 = 10;

/// The agent of an instance that serves already may take longer than the app to be there.
const AGENT: Duration = Duration::from_secs(300);

/// What is asked on each instance, and how.
#[derive(Clone, Debug)]
pub(crate) struct Inside {
    /// The app's port on the instance.
    pub(crate) port: u16,
    /// Where production is asked: a request on the instance carries the headers that a balancer there would give it.
    pub(crate) url: String,
    /// The checks.
    pub(crate) checks: Arc<Vec<Check>>,
    /// The time there is for "not ready yet".
    pub(crate) patience: Patience,
}

/// The order for `ask.py`.
#[derive(Debug, Serialize)]
struct Order<'a> {
    port: u16,
    timeout: u64,
    checks: Vec<Request<'a>>,
}

#[derive(Debug, Serialize)]
struct Request<'a> {
    path: &'a str,
    headers: Vec<(String, String)>,
}

/// What `ask.py` prints of one check.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Said {
    Nothing { nothing: String },
    Answer { status: u16, size: usize, body: String },
}

impl Inside {
    /// Asks all instances.
    ///
    /// # Errors
    /// AWS (4), deadline (6) or program (5) where an instance can't be asked at all: that is no verdict.
    pub(crate) async fn ask(
        &self,
        aws: &Aws,
        console: &Console,
        stop: &Stop,
        instances: &[InstanceId],
    ) -> Result<Vec<Finding>> {
        let turns = Arc::new(Semaphore::new(AT_A_TIME));
        // On this thread: a wait's look at the world is no future that may move to another.
        let local = LocalSet::new();
        let (mut findings, failure) = local
            .run_until(async {
                let mut asked = JoinSet::new();
                for instance in instances {
                    let (inside, aws, console, stop) = (self.clone(), aws.clone(), console.clone(), stop.clone());
                    let (instance, turns) = (instance.clone(), Arc::clone(&turns));
                    asked.spawn_local(async move {
                        let _turn = turns.acquire_owned().await;
                        inside.ask_one(&aws, &console, &stop, &instance).await
                    });
                }
                let (mut findings, mut failure) = (Vec::new(), None);
                // All of them come to their end, so that no command is left running.
                while let Some(joined) = asked.join_next().await {
                    match joined.or_fail(|| Failure::defect("asking an instance broke off")) {
                        Ok(Ok(found)) => findings.extend(found),
                        Ok(Err(why)) | Err(why) => failure = failure.or(Some(why)),
                    }
                }
                (findings, failure)
            })
            .await;
        findings.sort_by_key(|finding| (finding.check, finding.place.clone()));
        failure.map_or(Ok(findings), Err)
    }

    async fn ask_one(&self, aws: &Aws, console: &Console, stop: &Stop, instance: &InstanceId) -> Result<Vec<Finding>> {
        let begun = Instant::now();
        agent::online(aws, console, stop, instance, AGENT).await?;
        let mut standings: Vec<_> = self.checks.iter().map(|_| (Standing::new(1), Duration::ZERO)).collect();
        let mut pause = Pause::new();
        loop {
            let open: Vec<_> = (0..standings.len()).filter(|&at| standings[at].0.end().is_none()).collect();
            if open.is_empty() {
                break;
            }
            // Seen before the answers: one that comes late is still heard.
            let too_late = self.patience.is_over();
            let reply = run_command::run(aws, console, stop, instance, &self.script(instance, &open)?).await?;
            let answers = answers(&reply, instance)?;
            let heard = answers.len();
            for (&at, seen) in open.iter().zip(&answers) {
                standings[at].0.hear(self.checks[at].judge(seen), too_late);
                standings[at].1 = begun.elapsed();
            }
            let not_yet = open[..heard.min(open.len())].iter().any(|&at| standings[at].0.end().is_none());
            if not_yet {
                pause.sleep(stop, self.patience).await;
            }
        }
        let findings = self.checks.iter().zip(standings).map(|(check, (standing, took))| {
            // The loop above ends only when all have come out.
            let end = standing.end().cloned().unwrap_or_else(|| End::NeverReady("never asked".to_owned()));
            Finding { check: check.number, place: Place::Instance(instance.clone()), end, took }
        });
        Ok(findings.collect())
    }

    /// The program stands in a file, since standard input carries the order.
    fn script(&self, instance: &InstanceId, open: &[usize]) -> Result<Script> {
        let checks = open.iter().map(|&at| {
            let check = &self.checks[at];
            Request { path: &check.path, headers: headers(&self.url, &check.headers) }
        });
        let order = Order { port: self.port, timeout: REQUEST, checks: checks.collect() };
        let order = serde_json::to_string(&order).or_fail(|| Failure::defect("an order can't be written as JSON"))?;
        let text = format!(
            "program=$(mktemp)\n\
             cat >\"$program\" <<'GYRON_PROGRAM'\n{ASK}GYRON_PROGRAM\n\
             python3 -B \"$program\" <<'GYRON_ORDER'\n{order}\nGYRON_ORDER\n\
             status=$?\nrm -f \"$program\"\nexit $status\n"
        );
        let seconds = 30 + REQUEST * u64::try_from(open.len()).unwrap_or(u64::MAX / REQUEST / 2);
        Ok(Script { what: format!("smoke checks on {instance}"), text, deadline: Duration::from_secs(seconds) })
    }
}

/// The headers that a request has when a balancer at `url` forwards it, and the check's own, which beat them.
///
/// docs.aws.amazon.com/elasticloadbalancing/latest/application/x-forwarded-headers.html
fn headers(url: &str, own: &[(String, String)]) -> Vec<(String, String)> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let host = rest.split('/').next().unwrap_or_default();
    let known = if scheme == "https" { "443" } else { "80" };
    let port = host.rsplit_once(':').map_or(known, |(_, port)| port);
    let given = [
        ("Host", host),
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Forwarded-Proto", scheme),
        ("X-Forwarded-Port", port),
        ("User-Agent", concat!("gyron/", env!("CARGO_PKG_VERSION"))),
    ];
    let given = given.iter().filter(|(name, _)| !own.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)));
    given.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).chain(own.iter().cloned()).collect()
}

/// What the instance answered: at least one answer, in the order of the checks; those that did not fit are missing.
fn answers(reply: &Reply, instance: &InstanceId) -> Result<Vec<Seen>> {
    let broken = |what: &str| {
        let last: Vec<_> = reply.stderr.lines().rev().take(10).map(|line| format!("  | {line}")).collect();
        let failure = Failure::program(format!("{instance} can't be asked: {what} (exit status {})", reply.status));
        if last.is_empty() { failure } else { failure.detail(last.into_iter().rev().collect::<Vec<_>>().join("\n")) }
    };
    if reply.status == 127 {
        return Err(broken("it has no python3").hint("install python3 in the playbook, or set smoke.instances = false"));
    }
    if reply.status != 0 {
        return Err(broken("the script failed"));
    }
    let said: Vec<Said> = serde_json::from_str(reply.stdout.trim()).or_fail(|| broken("its answers can't be read"))?;
    if said.is_empty() {
        return Err(broken("it gave no answers"));
    }
    let seen = said.into_iter().map(|said| match said {
        Said::Nothing { nothing } => Ok(Seen::Nothing(nothing)),
        Said::Answer { status, size, body } => {
            let body = unpack(&body).ok_or_else(|| broken("a body can't be unpacked"))?;
            let cut_from = (body.len() < size).then_some(size);
            Ok(Seen::Answer { status, body: String::from_utf8_lossy(&body).into_owned(), cut_from, took: None })
        }
    });
    seen.collect()
}

fn unpack(text: &str) -> Option<Vec<u8>> {
    let packed = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
    let mut body = Vec::new();
    flate2::read::ZlibDecoder::new(packed.as_slice()).read_to_end(&mut body).ok()?;
    Some(body)
}

#[cfg(test)]
mod tests;
