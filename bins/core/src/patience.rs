//! How long AWS is asked again, by the kind of its refusal.
//!
//! Being throttled is no error: the call is asked again, slower and slower, until the step's own deadline. What broke on AWS's
//! side or on the way is asked again a few times. A zone without capacity is not asked again at all: another one may have some,
//! though the SDK takes that refusal, a 500, for one that passes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_sdk_ec2::config::Intercept;
use aws_sdk_ec2::config::interceptors::FinalizerInterceptorContextRef;
use aws_sdk_ec2::config::retry::RetryConfig;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextRef;
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::retries::RequestAttempts;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::{ConfigBag, Storable, StoreReplace};

use crate::console::{Console, HEARTBEAT, span};
use crate::stop::Stop;

/// How often a call is sent that breaks.
pub const ATTEMPTS: u32 = 6;

/// The longest pause between two attempts; each is a random part of a pause that doubles.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How long a throttled call is asked again at least: clean-up comes after the deadline, and after a signal.
const GRACE: Duration = Duration::from_secs(120);

/// Calls that no token protects, and whose second one does a second thing: a script would run twice, side by side.
const ONCE: [&str; 1] = ["SendCommand"];

/// What a refusal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// To come again later.
    Throttled,
    /// To go elsewhere: another type, another zone.
    NoCapacity,
    /// To wait until the network is back: no answer came.
    Unreached,
    /// Nothing: what was asked for may have been done, and must not be done twice.
    Done,
    /// Something else: the SDK knows which of these pass.
    Other,
}

/// What an answer asks for, by its HTTP status and its error code; S3 answers HEAD without a code.
///
/// The codes are the SDK's own for throttling (`THROTTLING_ERRORS` in aws-runtime's `retries/classifiers.rs`); those of lacking
/// capacity stand in <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html>.
#[must_use]
pub fn kind(status: u16, code: Option<&str>) -> Kind {
    match code {
        Some(
            "RequestLimitExceeded"
            | "SlowDown"
            | "Throttling"
            | "ThrottlingException"
            | "ThrottledException"
            | "EC2ThrottledException"
            | "RequestThrottled"
            | "RequestThrottledException"
            | "TooManyRequestsException"
            | "PriorRequestNotComplete",
        ) => Kind::Throttled,
        Some(
            "InsufficientInstanceCapacity"
            | "InsufficientHostCapacity"
            | "InsufficientReservedInstanceCapacity"
            | "InsufficientCapacity",
        ) => Kind::NoCapacity,
        // "Reduce your request rate", says S3 of every 503: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
        None if status == 503 => Kind::Throttled,
        _ => Kind::Other,
    }
}

/// Whether a call is sent again that has been sent so often, for so long; a throttled one at most for `longest`.
#[must_use]
pub fn again(kind: Kind, attempts: u32, elapsed: Duration, longest: Duration) -> bool {
    match kind {
        Kind::Throttled => elapsed < longest,
        Kind::NoCapacity | Kind::Done => false,
        // A connection that is refused at once would else be given up after a few seconds.
        Kind::Unreached => attempts < ATTEMPTS || elapsed < longest,
        Kind::Other => attempts < ATTEMPTS,
    }
}

/// How long a step's calls are asked again. Clones see the same.
#[derive(Clone, Debug)]
pub struct Patience {
    console: Console,
    stop: Stop,
    until: Arc<Mutex<Option<Instant>>>,
}

impl Patience {
    /// Without a deadline: each throttled call is asked again for two minutes, and each that reaches nobody a few times.
    #[must_use]
    pub fn new(console: &Console, stop: &Stop) -> Self {
        Patience { console: console.clone(), stop: stop.clone(), until: Arc::default() }
    }

    /// From now on throttled calls are asked again until the step's deadline, unless the step is asked to stop.
    pub fn lasts_until(&self, deadline: Instant) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = Some(deadline);
    }

    /// How long a call that was first sent then may be asked again.
    fn longest(&self, kind: Kind, sent: Instant) -> Duration {
        let left = self.until().map(|until| until.saturating_duration_since(sent));
        match kind {
            // A step without a deadline has made nothing yet that would be lost: a wrong address is better said at once.
            Kind::Unreached => left.map_or(Duration::ZERO, |left| left.min(GRACE)),
            _ => left.map_or(GRACE, |left| left.max(GRACE)),
        }
    }

    fn until(&self) -> Option<Instant> {
        let until = *self.until.lock().unwrap_or_else(PoisonError::into_inner);
        until.filter(|_| self.stop.check().is_ok())
    }
}

/// When a call was first sent, and when a person was last told that it waits.
#[derive(Clone, Copy, Debug)]
struct Sent {
    first: Instant,
    said: Instant,
}

impl Storable for Sent {
    type Storer = StoreReplace<Self>;
}

impl Intercept for Patience {
    fn name(&self) -> &'static str {
        "Patience"
    }

    fn read_before_attempt(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if cfg.load::<Sent>().is_none() {
            let now = Instant::now();
            cfg.interceptor_state().store_put(Sent { first: now, said: now });
        }
        Ok(())
    }

    // The SDK's own retry strategy comes next: it sends a call again that it takes for one that passes, while the attempts so far
    // are fewer than this configuration's.
    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let attempts = cfg.load::<RequestAttempts>().map_or(1, |made| made.attempts());
        let Some(sent) = cfg.load::<Sent>().copied() else { return Ok(()) };
        if context.output_or_error().is_none_or(|outcome| outcome.is_ok()) {
            return Ok(());
        }
        let action = cfg.load::<Metadata>().map_or("a call", Metadata::name).to_owned();
        let kind = context.response().map_or(Kind::Unreached, |response| {
            let body = response.body().bytes().unwrap_or_default();
            let code = code(response.headers().get("x-amzn-errortype"), body);
            kind(response.status().as_u16(), code.as_deref())
        });
        let broken = kind == Kind::Unreached || context.response().is_some_and(|it| it.status().is_server_error());
        let kind = if ONCE.contains(&action.as_str()) && broken && kind != Kind::Throttled { Kind::Done } else { kind };
        let more = again(kind, attempts, sent.first.elapsed(), self.longest(kind, sent.first));
        let why = match kind {
            Kind::Unreached => "nobody answers",
            _ => "AWS throttles",
        };
        if more && matches!(kind, Kind::Throttled | Kind::Unreached) && sent.said.elapsed() >= HEARTBEAT {
            let waited = span(Duration::from_secs(sent.first.elapsed().as_secs()));
            self.console.say(format!("  … {why} {action}: asking again ({waited})"));
            cfg.interceptor_state().store_put(Sent { said: Instant::now(), ..sent });
        }
        let config = RetryConfig::standard().with_max_backoff(LONGEST_PAUSE);
        cfg.interceptor_state().store_put(config.with_max_attempts(if more { attempts + 1 } else { attempts }));
        Ok(())
    }
}

/// The error code of an answer: of XML, of AWS JSON, or of the header that some services put it into.
fn code(header: Option<&str>, body: &[u8]) -> Option<String> {
    let bare = |code: &str| {
        let code = code.rsplit('#').next().unwrap_or(code);
        code.split(':').next().unwrap_or(code).to_owned()
    };
    let text = std::str::from_utf8(body).unwrap_or_default();
    let of_xml = || text.split_once("<Code>")?.1.split_once("</Code>").map(|(code, _)| code.to_owned());
    let of_json = || {
        let value: serde_json::Value = serde_json::from_str(text).ok()?;
        ["__type", "code"].iter().find_map(|name| value[*name].as_str()).map(bare)
    };
    // An answer with text that has no code is no AWS service's: it counts as one with a code that is not known.
    let unknown = || (!text.trim().is_empty()).then(String::new);
    header.map(bare).or_else(of_xml).or_else(of_json).or_else(unknown)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::{ATTEMPTS, GRACE, Kind, Patience, again, code, kind};
    use crate::console::Console;
    use crate::exit::Exit;
    use crate::stop::Stop;

    #[test]
    fn refusals_are_told_apart() {
        for (status, code, expected) in [
            (503, Some("RequestLimitExceeded"), Kind::Throttled),
            (400, Some("Throttling"), Kind::Throttled),
            (400, Some("ThrottlingException"), Kind::Throttled),
            (503, Some("SlowDown"), Kind::Throttled),
            (503, None, Kind::Throttled),
            (503, Some("ServiceUnavailable"), Kind::Other),
            (503, Some(""), Kind::Other),
            (500, Some("InternalError"), Kind::Other),
            (500, Some("InsufficientInstanceCapacity"), Kind::NoCapacity),
            (400, Some("InvalidAMIID.NotFound"), Kind::Other),
            (404, None, Kind::Other),
        ] {
            assert_eq!(kind(status, code), expected, "{status} {code:?}");
        }
    }

    #[test]
    fn the_code_is_read_from_every_protocol() {
        let ec2 = b"<Response><Errors><Error><Code>RequestLimitExceeded</Code><Message>x</Message></Error></Errors></Response>";
        assert_eq!(code(None, ec2).as_deref(), Some("RequestLimitExceeded"));
        assert_eq!(
            code(None, br#"{"__type":"com.amazon#ThrottlingException"}"#).as_deref(),
            Some("ThrottlingException")
        );
        assert_eq!(code(Some("ThrottlingException:http://x/"), b"{}").as_deref(), Some("ThrottlingException"));
        assert_eq!(code(None, b""), None);
        assert_eq!(code(None, b"<html>503 from a proxy</html>").as_deref(), Some(""));
    }

    proptest! {
        /// What is throttled is asked again until the deadline however often that is; all else a few times.
        #[test]
        fn throttling_is_bounded_by_time_and_all_else_by_number(attempts in 1u32..10_000, elapsed in 0u64..10_000, longest in 1u64..10_000) {
            let (elapsed, longest) = (Duration::from_secs(elapsed), Duration::from_secs(longest));
            prop_assert_eq!(again(Kind::Throttled, attempts, elapsed, longest), elapsed < longest);
            prop_assert_eq!(again(Kind::Other, attempts, elapsed, longest), attempts < ATTEMPTS);
            prop_assert!(!again(Kind::NoCapacity, attempts, elapsed, longest));
            prop_assert!(!again(Kind::Done, attempts, elapsed, longest));
            prop_assert_eq!(again(Kind::Unreached, attempts, elapsed, longest), attempts < ATTEMPTS || elapsed < longest);
        }
    }

    #[test]
    fn patience_lasts_until_the_deadline_or_the_signal_and_then_for_the_clean_up() {
        let (asker, stop) = Stop::of_own();
        let patience = Patience::new(&Console::new(), &stop);
        let now = Instant::now();
        assert_eq!(patience.longest(Kind::Throttled, now), GRACE);
        patience.lasts_until(now + Duration::from_secs(1800));
        assert_eq!(patience.longest(Kind::Throttled, now), Duration::from_secs(1800));
        assert_eq!(patience.longest(Kind::Throttled, now + Duration::from_secs(1790)), GRACE);
        assert_eq!(patience.longest(Kind::Unreached, now), GRACE);
        asker.ask(Exit::Interrupted);
        assert_eq!(patience.longest(Kind::Unreached, now), Duration::ZERO);
        assert_eq!(patience.longest(Kind::Throttled, now), GRACE);
    }
}
