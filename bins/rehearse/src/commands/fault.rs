//! `fault`: sets faults on a running cloud, lists and clears them.

use gyron_core::failure::{Failure, OrFail, Result};
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::endpoint;
use crate::args::{FaultCommand, Hit, Scope};
use crate::cloud::Cloud;
use crate::gateway::faults::{Calls, Fault, Standing, What, When, Which};

/// What the daemon says of its faults.
#[derive(Deserialize)]
struct Listed {
    faults: Vec<Standing>,
}

/// Does what was typed. A fault that is set prints its id.
///
/// # Errors
/// Where the daemon does not answer; usage (2) where the fault can't be done as AWS does it.
pub async fn run(cloud: &Cloud, command: FaultCommand) -> Result<()> {
    match command {
        FaultCommand::List { json } => {
            let answer = endpoint::get(cloud, "faults").await?;
            print(if json { pretty(&answer)? } else { text(&read(answer)?) });
        }
        FaultCommand::Clear { ids, key } => {
            let pages: Vec<String> = match (ids.as_slice(), &key) {
                ([], None) => vec!["faults".to_owned()],
                ([], Some(key)) => vec![format!("faults?key={key}")],
                (ids, _) => ids.iter().map(|id| format!("faults?id={id}")).collect(),
            };
            for page in pages {
                endpoint::ask(cloud, Method::DELETE, &page, None).await?;
            }
        }
        other => {
            let fault = json!(asked_for(other)?);
            let set = read(endpoint::ask(cloud, Method::POST, "faults", Some(&fault)).await?)?;
            print(set.iter().map(|standing| format!("{}\n", standing.id)).collect());
        }
    }
    Ok(())
}

/// The fault that was typed.
fn asked_for(command: FaultCommand) -> Result<Fault> {
    let of_calls = |what, hit: Hit, action| {
        let Hit { nth, every, first, share, seed, service, object, scope } = hit;
        let which = match (nth, every, first, share) {
            (Some(n), ..) => Which::Nth(n),
            (_, Some(m), ..) => Which::Every(m),
            (.., Some(k), _) => Which::First(k),
            (.., Some(share)) => Which::Share { share, seed },
            _ => Which::Each,
        };
        Fault { what, calls: Calls { key: scope.key, service, action, object }, which }
    };
    let of_things = |what, scope: Scope| {
        let calls = Calls { key: scope.key, ..Calls::default() };
        Fault { what, calls, which: Which::Each }
    };
    Ok(match command {
        FaultCommand::Throttle { action, hit } => of_calls(What::Throttle, hit, action),
        FaultCommand::Fail { action, error, status, message, hit } => {
            of_calls(What::Fail { code: error, status, message }, hit, action)
        }
        FaultCommand::Delay { by, action, hit } => of_calls(What::Delay(by), hit, action),
        FaultCommand::Kill { action, before: _, after, hit } => {
            of_calls(What::Kill(if after { When::After } else { When::Before }), hit, action)
        }
        FaultCommand::Stale { by, scope } => of_things(What::Stale(by), scope),
        FaultCommand::NoCapacity { types, zones, scope } => of_things(What::NoCapacity { types, zones }, scope),
        FaultCommand::NoAgent { scope } => of_things(What::NoAgent, scope),
        FaultCommand::List { .. } | FaultCommand::Clear { .. } => {
            return Err(Failure::defect("listing and clearing sets no fault"));
        }
    })
}

fn read(answer: Value) -> Result<Vec<Standing>> {
    let listed: Listed =
        serde_json::from_value(answer).or_fail(|| Failure::defect("can't read what the daemon says of its faults"))?;
    Ok(listed.faults)
}

fn pretty(answer: &Value) -> Result<String> {
    let text = serde_json::to_string_pretty(answer).or_fail(|| Failure::defect("can't write JSON"))?;
    Ok(format!("{text}\n"))
}

/// A line each: `f1  throttle: one in 2, of ec2 (3 of 6 calls hit)`.
fn text(standing: &[Standing]) -> String {
    if standing.is_empty() {
        return "no fault is set\n".to_owned();
    }
    let line = |one: &Standing| {
        let counted = match one.fault.what {
            What::Stale(_) => String::new(),
            _ => format!(" ({} of {} hit)", one.hit, one.seen),
        };
        format!("{:<4} {}{counted}\n", one.id, one.fault)
    };
    standing.iter().map(line).collect()
}

fn print(text: String) {
    anstream::print!("{text}");
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may")]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Args, Command};

    fn typed(words: &[&str]) -> String {
        let all = ["gyron-rehearse", "fault"].iter().chain(words);
        let Command::Fault(command) = Args::try_parse_from(all).unwrap().command else { panic!("a fault") };
        asked_for(*command).unwrap().to_string()
    }

    #[test]
    fn what_is_typed_is_a_fault() {
        for (words, fault) in [
            (&["throttle"][..], "throttle"),
            (
                &["throttle", "RunInstances", "--nth", "2", "--key", "AKIA1"],
                "throttle: number 2, of RunInstances, by AKIA1",
            ),
            (
                &["throttle", "--service", "ec2", "--share", "0.5", "--seed", "7"],
                "throttle: 0.5 of them (seed 7), of ec2",
            ),
            (
                &["fail", "CreateImage", "--error", "InternalError", "--status", "500", "--first", "3"],
                "fail with InternalError (500): the first 3, of CreateImage",
            ),
            (&["delay", "1500ms", "StopInstances", "--every", "2"], "delay by 1.5s: one in 2, of StopInstances"),
            (&["kill", "PutObject", "--object", "/leases/", "--before"], "kill before: of PutObject, about /leases/"),
            (&["stale", "30s"], "stale by 30s"),
            (&["no-capacity", "--type", "t3.small", "--zone", "us-east-1a"], "no capacity for t3.small in us-east-1a"),
            (&["no-agent", "--key", "AKIA1"], "no agent: by AKIA1"),
            (&["kill", "StopInstances", "--after", "--nth", "1"], "kill after: number 1, of StopInstances"),
        ] {
            assert_eq!(typed(words), fault);
        }
    }
}
