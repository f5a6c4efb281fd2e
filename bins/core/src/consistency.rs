//! Eventual consistency: EC2 takes a change and for a while answers as if it had not.
//!
//! "If you run a command to modify or describe a resource that you just created, its ID might not have propagated throughout the
//! system, and you will get an error responding that the resource does not exist"
//! (<https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html>). So a refusal that says so of what is known to be there
//! is no refusal yet: the call is made again, until that has gone on for too long to be a lag.

use std::time::Duration;

use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use tokio::time::Instant;

use crate::console::Console;
use crate::failure::Result;
use crate::stop::Stop;
use crate::wait::{Look, Wait, poll_until};

/// The longest lag that is waited out. EC2 promises nothing; what is known of is seconds, in bad hours most of a minute.
pub const LAG: Duration = Duration::from_secs(60);

/// How long a refusal of this kind may come from a lag; none where it never does.
///
/// An instance profile takes longest to come from IAM to EC2, but a wrong name is a mistake that a person wants to hear of.
#[must_use]
pub fn lag(action: &str, code: &str, message: &str) -> Option<Duration> {
    match (action, code) {
        (_, "InvalidInstanceID.NotFound" | "InvalidAMIID.NotFound" | "InvalidSnapshot.NotFound") => Some(LAG),
        // It has stopped, and the call came to a place that has not heard of it: https://github.com/hashicorp/packer/pull/9579
        ("CreateImage", "InvalidParameterValue") if message.contains("is not in state") => Some(LAG),
        ("RunInstances", "InvalidParameterValue") if message.contains("Invalid IAM Instance Profile") => {
            Some(Duration::from_secs(20))
        }
        _ => None,
    }
}

/// Makes a call about something that is known to be there, again and again while the refusal may come from a lag.
///
/// The inner result is the call's own last one.
///
/// # Errors
/// The signal that asked to stop.
pub async fn settled<T, E, R>(
    console: &Console,
    stop: &Stop,
    action: &str,
    mut call: impl AsyncFnMut() -> std::result::Result<T, SdkError<E, R>>,
) -> Result<std::result::Result<T, SdkError<E, R>>>
where
    E: ProvideErrorMetadata,
{
    let begun = Instant::now();
    // The deadline is never met: the last look takes the refusal as it is.
    let wait = Wait::new(format!("EC2 to know of what {action} is about"), LAG * 2);
    poll_until(console, stop, &wait, async || {
        let outcome = call().await;
        let refusal = outcome.as_ref().err().and_then(SdkError::as_service_error);
        let lagging = refusal.is_some_and(|refusal| {
            let (code, message) = (refusal.code().unwrap_or_default(), refusal.message().unwrap_or_default());
            lag(action, code, message).is_some_and(|longest| begun.elapsed() < longest)
        });
        Ok(if lagging { Look::Pending("not known yet".to_owned()) } else { Look::Done(outcome) })
    })
    .await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use aws_smithy_runtime_api::client::result::SdkError;
    use aws_smithy_types::error::ErrorMetadata;

    use super::{LAG, lag, settled};
    use crate::console::Console;
    use crate::stop::Stop;

    #[test]
    fn only_what_can_come_from_a_lag_is_waited_out() {
        let short = Some(Duration::from_secs(20));
        for (action, code, message, longest) in [
            ("StopInstances", "InvalidInstanceID.NotFound", "The instance ID 'i-1' does not exist", Some(LAG)),
            ("RunInstances", "InvalidAMIID.NotFound", "The image id '[ami-1]' does not exist", Some(LAG)),
            ("CreateTags", "InvalidSnapshot.NotFound", "The snapshot 'snap-1' does not exist.", Some(LAG)),
            ("CreateImage", "InvalidParameterValue", "Instance is not in state 'running' or 'stopped'", Some(LAG)),
            ("CreateImage", "InvalidParameterValue", "AMI name is too long", None),
            ("StartInstances", "IncorrectInstanceState", "The instance 'i-1' is not in a state", None),
            ("RunInstances", "InvalidParameterValue", "Value (x) … Invalid IAM Instance Profile name", short),
            ("RunInstances", "InvalidParameterValue", "Invalid value for instance type", None),
            ("RunInstances", "InvalidAMIID.Malformed", "", None),
            ("RunInstances", "UnauthorizedOperation", "", None),
        ] {
            assert_eq!(lag(action, code, message), longest, "{action} {code} {message}");
        }
    }

    type Outcome = Result<(), SdkError<ErrorMetadata, ()>>;

    fn refused(code: &str) -> Outcome {
        Err(SdkError::service_error(ErrorMetadata::builder().code(code).build(), ()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_made_again_until_it_is_known_what_it_is_about() {
        let mut calls = 0;
        let outcome = settled(&Console::new(), &Stop::never(), "StopInstances", async || {
            calls += 1;
            if calls < 4 { refused("InvalidInstanceID.NotFound") } else { Ok(()) }
        })
        .await;
        assert!(outcome.unwrap().is_ok());
        assert_eq!(calls, 4);
    }

    #[tokio::test(start_paused = true)]
    async fn what_lasts_too_long_is_taken_as_it_is_and_what_is_no_lag_at_once() {
        let begun = tokio::time::Instant::now();
        let outcome = async |code: &'static str| {
            settled(&Console::new(), &Stop::never(), "StopInstances", async || refused(code))
                .await
                .unwrap()
                .unwrap_err()
        };
        assert!(outcome("UnauthorizedOperation").await.as_service_error().is_some());
        assert!(begun.elapsed().is_zero());
        assert!(outcome("InvalidInstanceID.NotFound").await.as_service_error().is_some());
        assert!((LAG..LAG * 2).contains(&begun.elapsed()));
    }
}
