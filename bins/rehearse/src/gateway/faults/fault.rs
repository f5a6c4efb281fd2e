//! A fault as a person sets it: what goes wrong, for which calls.

use std::fmt;

use gyron_core::config::schema::Span;
use serde::{Deserialize, Serialize};

/// What goes wrong, and for whom.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What goes wrong.
    pub what: What,
    /// Whose calls, of what.
    #[serde(default)]
    pub calls: Calls,
    /// Which of those calls.
    #[serde(default)]
    pub which: Which,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum What {
    /// The call is refused as its service refuses what comes too fast.
    Throttle,
    /// The call is refused; without a code, as its service says that it broke.
    Fail {
        /// `InternalError` …
        code: Option<String>,
        /// The HTTP status.
        status: Option<u16>,
        /// The sentence.
        message: Option<String>,
    },
    /// The call is served so much later.
    Delay(Span),
    /// EC2's Describe calls show what was made or changed as it was so long ago.
    Stale(Span),
    /// RunInstances finds no capacity.
    NoCapacity {
        /// For these instance types; empty for every type.
        types: Vec<String>,
        /// In these availability zones; empty for every zone.
        zones: Vec<String>,
    },
    /// The SSM agents of instances that start now never come online.
    NoAgent,
    /// The process that called is killed.
    Kill(When),
}

/// When a caller is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// The call has no effect.
    Before,
    /// The call has had its effect, but not its answer.
    After,
}

/// Whose calls, of what; what is not said is anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Calls {
    /// Signed with this access key.
    pub key: Option<String>,
    /// Of this service, as credential scopes name it: `ec2`, `elasticloadbalancing` …
    pub service: Option<String>,
    /// `RunInstances` …
    pub action: Option<String>,
    /// About an S3 object with this in its bucket and key.
    pub object: Option<String>,
}

/// Which of the calls that a fault concerns, counted from 1 since it was set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Which {
    /// Each of them.
    #[default]
    Each,
    /// This one alone.
    Nth(u64),
    /// The m-th, the 2m-th …
    Every(u64),
    /// The first so many.
    First(u64),
    /// A share of them by chance, the same ones for the same seed.
    Share {
        /// Above 0, at most 1.
        share: f64,
        /// Decides which.
        seed: u64,
    },
}

/// A call, as far as faults tell calls apart.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The access key that signed it.
    pub key: Option<&'a str>,
    /// Its service.
    pub service: &'a str,
    /// Its action.
    pub action: &'a str,
    /// S3's bucket and key.
    pub object: Option<&'a str>,
}

/// The services whose errors are known here.
const SERVICES: [&str; 8] = ["autoscaling", "cloudformation", "ec2", "elasticloadbalancing", "iam", "s3", "ssm", "sts"];

/// The longest delay, and the longest that a describe may lag behind.
const LONGEST: u64 = 3600;

impl Calls {
    /// Whether a call is one of these.
    #[must_use]
    pub fn concern(&self, call: Seen<'_>) -> bool {
        self.key.as_deref().is_none_or(|key| call.key == Some(key))
            && self.service.as_deref().is_none_or(|service| call.service == service)
            && self.action.as_deref().is_none_or(|action| call.action == action)
            && self.object.as_deref().is_none_or(|part| call.object.is_some_and(|object| object.contains(part)))
    }
}

impl Which {
    /// Whether the n-th call is hit.
    #[must_use]
    pub fn hits(self, n: u64) -> bool {
        match self {
            Which::Each => true,
            Which::Nth(nth) => n == nth,
            Which::Every(m) => m > 0 && n.is_multiple_of(m),
            Which::First(k) => n <= k,
            Which::Share { share, seed } => chance(seed, n) < share,
        }
    }

    fn check(self) -> Result<(), String> {
        match self {
            Which::Nth(0) | Which::Every(0) | Which::First(0) => Err("calls are counted from 1".to_owned()),
            Which::Share { share, .. } if !(share > 0.0 && share <= 1.0) => {
                Err(format!("a share is above 0 and at most 1, not {share}"))
            }
            _ => Ok(()),
        }
    }
}

/// A number from 0 to 1, the same for the same seed and n: one step of splitmix64, <https://prng.di.unimi.it/splitmix64.c>.
fn chance(seed: u64, n: u64) -> f64 {
    let mut z = seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let of_53_bits = ((z ^ (z >> 31)) >> 11) as f64;
    of_53_bits / (1u64 << 53) as f64
}

impl Fault {
    /// Whether the rehearsal can do it as AWS does.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn check(&self) -> Result<(), String> {
        self.which.check()?;
        let Calls { service, action, object, .. } = &self.calls;
        let of_calls = matches!(self.what, What::Throttle | What::Fail { .. } | What::Delay(_) | What::Kill(_));
        if !of_calls && (service.is_some() || action.is_some() || object.is_some()) {
            return Err(format!("{} has its own actions: name neither service nor action nor object", self.what));
        }
        if let Some(service) = service.as_deref().filter(|service| !SERVICES.contains(service)) {
            return Err(format!("how {service} fails is not known here; known are {}", SERVICES.join(", ")));
        }
        match &self.what {
            What::Fail { status: Some(status), .. } if !(400..=599).contains(status) => {
                Err(format!("an error has a status from 400 to 599, not {status}"))
            }
            What::Fail { code: None, status: Some(_), .. } => Err("a status goes with an error code".to_owned()),
            What::Fail { code: Some(code), .. } if code.is_empty() => Err("an error code is missing".to_owned()),
            What::Delay(span) | What::Stale(span) if span.0.is_zero() || span.0.as_secs() > LONGEST => {
                Err(format!("{span} is not within an hour"))
            }
            What::Stale(_) | What::NoAgent | What::NoCapacity { .. } if self.which != Which::Each => {
                Err(format!("{} holds until it is cleared: it counts no calls", self.what))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Throttle => f.write_str("throttle"),
            What::Fail { code: None, .. } => f.write_str("fail"),
            What::Fail { code: Some(code), status, .. } => {
                write!(f, "fail with {code}")?;
                status.map_or(Ok(()), |status| write!(f, " ({status})"))
            }
            What::Delay(by) => write!(f, "delay by {by}"),
            What::Stale(by) => write!(f, "stale by {by}"),
            What::NoCapacity { types, zones } => {
                f.write_str("no capacity")?;
                for (before, names) in [(" for ", types), (" in ", zones)] {
                    if !names.is_empty() {
                        write!(f, "{before}{}", names.join(" or "))?;
                    }
                }
                Ok(())
            }
            What::NoAgent => f.write_str("no agent"),
            What::Kill(When::Before) => f.write_str("kill before"),
            What::Kill(When::After) => f.write_str("kill after"),
        }
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Which::Each => f.write_str("each"),
            Which::Nth(n) => write!(f, "number {n}"),
            Which::Every(m) => write!(f, "one in {m}"),
            Which::First(k) => write!(f, "the first {k}"),
            Which::Share { share, seed } => write!(f, "{share} of them (seed {seed})"),
        }
    }
}

/// `throttle: number 2, of ec2 RunInstances, by AKIA…`
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Calls { key, service, action, object } = &self.calls;
        write!(f, "{}", self.what)?;
        let mut said = Vec::new();
        if self.which != Which::Each {
            said.push(self.which.to_string());
        }
        let of: Vec<&str> = [service, action].into_iter().filter_map(Option::as_deref).collect();
        if !of.is_empty() {
            said.push(format!("of {}", of.join(" ")));
        }
        said.extend(object.iter().map(|part| format!("about {part}")));
        said.extend(key.iter().map(|key| format!("by {key}")));
        if said.is_empty() { Ok(()) } else { write!(f, ": {}", said.join(", ")) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hit(which: Which) -> Vec<u64> {
        (1..=8).filter(|n| which.hits(*n)).collect()
    }

    #[test]
    fn calls_are_counted_from_one() {
        assert_eq!(hit(Which::Each), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(hit(Which::Nth(3)), [3]);
        assert_eq!(hit(Which::Every(3)), [3, 6]);
        assert_eq!(hit(Which::First(2)), [1, 2]);
        assert_eq!(hit(Which::Share { share: 0.5, seed: 7 }), hit(Which::Share { share: 0.5, seed: 7 }));
        assert_ne!(hit(Which::Share { share: 0.5, seed: 7 }), hit(Which::Share { share: 0.5, seed: 8 }));
    }

    proptest! {
        /// Whatever the seed, about the wished share of many calls is hit.
        #[test]
        fn a_share_is_about_that_share(seed: u64, share in 0.1f64..0.9) {
            let hits = (1..=4000).filter(|n| Which::Share { share, seed }.hits(*n)).count();
            let seen = hits as f64 / 4000.0;
            prop_assert!((seen - share).abs() < 0.05, "{seen} instead of {share}");
        }
    }

    #[test]
    fn a_call_is_concerned_when_all_that_is_said_holds() {
        let call = Seen { key: Some("AKIA1"), service: "ec2", action: "RunInstances", object: None };
        let of = |key: Option<&str>, service: Option<&str>, action: Option<&str>| {
            let owned = |text: Option<&str>| text.map(str::to_owned);
            Calls { key: owned(key), service: owned(service), action: owned(action), object: None }.concern(call)
        };
        assert!(of(None, None, None) && of(Some("AKIA1"), Some("ec2"), Some("RunInstances")));
        assert!(
            !of(Some("AKIA2"), None, None) && !of(None, Some("s3"), None) && !of(None, None, Some("StopInstances"))
        );
        let about = |part: &str| Calls { object: Some(part.to_owned()), ..Calls::default() };
        let put = Seen { service: "s3", action: "PutObject", object: Some("b/app/leases/x.json"), ..call };
        assert!(about("/leases/").concern(put) && !about("/records/").concern(put) && !about("/leases/").concern(call));
        assert!(!Calls { key: Some("AKIA1".into()), ..Calls::default() }.concern(Seen { key: None, ..call }));
    }

    #[test]
    fn what_can_not_be_done_as_aws_does_it_is_refused() {
        let fault = |what| Fault { what, calls: Calls::default(), which: Which::Each };
        let of = |service: &str| Calls { service: Some(service.to_owned()), ..Calls::default() };
        let cases = [
            (fault(What::Throttle), None),
            (Fault { calls: of("lambda"), ..fault(What::Throttle) }, Some("how lambda fails is not known here")),
            (Fault { which: Which::Nth(0), ..fault(What::Throttle) }, Some("calls are counted from 1")),
            (
                Fault { which: Which::Share { share: 1.5, seed: 0 }, ..fault(What::Throttle) },
                Some("a share is above 0"),
            ),
            (fault(What::Fail { code: Some("X".into()), status: Some(200), message: None }), Some("from 400 to 599")),
            (fault(What::Fail { code: None, status: Some(500), message: None }), Some("goes with an error code")),
            (fault(What::Stale(Span::seconds(0))), Some("not within an hour")),
            (Fault { calls: of("ec2"), ..fault(What::NoAgent) }, Some("has its own actions")),
            (Fault { which: Which::First(1), ..fault(What::Stale(Span::seconds(9))) }, Some("counts no calls")),
        ];
        for (fault, why) in cases {
            match (fault.check(), why) {
                (Ok(()), None) => {}
                (Err(said), Some(why)) => assert!(said.contains(why), "{said}"),
                (result, _) => panic!("{fault}: {result:?}"),
            }
        }
    }

    #[test]
    fn a_fault_reads_as_a_sentence() {
        let calls = Calls {
            key: Some("AKIA1".into()),
            service: Some("ec2".into()),
            action: Some("RunInstances".into()),
            object: None,
        };
        let fault = Fault { what: What::Kill(When::After), calls, which: Which::Nth(2) };
        assert_eq!(fault.to_string(), "kill after: number 2, of ec2 RunInstances, by AKIA1");
        let text = serde_json::to_string(&fault).unwrap();
        assert_eq!(serde_json::from_str::<Fault>(&text).unwrap(), fault);
    }
}
