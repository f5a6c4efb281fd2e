//! How each service says that a call came too fast, or that it broke.

use http::StatusCode;

use super::super::refusal::Refusal;
use super::super::request::{Asked, Protocol};

/// The refusal of a call that came too fast; `None` where the service's own is not known.
///
/// EC2: <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html>, S3:
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>, the query services:
/// <https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/CommonErrors.html>, SSM:
/// <https://docs.aws.amazon.com/systems-manager/latest/APIReference/CommonErrors.html>.
#[must_use]
pub fn throttled(asked: &Asked) -> Option<Refusal> {
    let (status, code, message) = match asked.protocol {
        Protocol::Ec2 => (503, "RequestLimitExceeded", "Request limit exceeded."),
        Protocol::Query => (400, "Throttling", "Rate exceeded"),
        Protocol::Json10 | Protocol::Json11 => (400, "ThrottlingException", "Rate exceeded"),
        Protocol::RestXml => (503, "SlowDown", "Please reduce your request rate."),
        Protocol::RestJson => return None,
    };
    Some(refusal(status, code, message))
}

/// The refusal of a call at which the service broke, or the one that is wished.
#[must_use]
pub fn failed(asked: &Asked, code: Option<&str>, status: Option<u16>, message: Option<&str>) -> Option<Refusal> {
    if let Some(code) = code {
        let message = message.unwrap_or("the rehearsal was told to fail this call");
        return Some(refusal(status.unwrap_or(usual_status(code)), code, message));
    }
    let (code, message) = match asked.protocol {
        Protocol::Ec2 => ("InternalError", "An internal error has occurred"),
        Protocol::RestXml => ("InternalError", "We encountered an internal error. Please try again."),
        Protocol::Json11 if asked.service == "ssm" => ("InternalServerError", "An error occurred on the server side."),
        Protocol::Query | Protocol::Json10 | Protocol::Json11 => {
            ("InternalFailure", "The request processing has failed because of an unknown error, exception or failure.")
        }
        Protocol::RestJson => return None,
    };
    Some(refusal(500, code, message))
}

/// RunInstances without capacity:
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/troubleshooting-launch.html>.
#[must_use]
pub fn no_capacity(kind: &str, zone: &str) -> Refusal {
    refusal(
        500,
        "InsufficientInstanceCapacity",
        &format!(
            "We currently do not have sufficient {kind} capacity in the Availability Zone you requested ({zone}). Our \
             system will be working on provisioning additional capacity."
        ),
    )
}

/// The status that goes with a code, where the person names none.
fn usual_status(code: &str) -> u16 {
    let broke = ["Internal", "Unavailable", "Insufficient", "ServiceFailure"];
    if code == "ServiceUnavailable" || code == "Unavailable" {
        503
    } else if broke.iter().any(|part| code.contains(part)) {
        500
    } else {
        400
    }
}

fn refusal(status: u16, code: &str, message: &str) -> Refusal {
    Refusal::new(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST), code, message)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn each_service_refuses_in_its_own_words() {
        let asked = |service: &str, protocol| Asked {
            service: service.to_owned(),
            action: "X".to_owned(),
            region: None,
            key: None,
            protocol,
        };
        let said = |refusal: Option<Refusal>| refusal.map(|it| format!("{} {}", it.status.as_u16(), it.code));
        for (service, protocol, throttle, broken) in [
            ("ec2", Protocol::Ec2, Some("503 RequestLimitExceeded"), Some("500 InternalError")),
            ("autoscaling", Protocol::Query, Some("400 Throttling"), Some("500 InternalFailure")),
            ("ssm", Protocol::Json11, Some("400 ThrottlingException"), Some("500 InternalServerError")),
            ("s3", Protocol::RestXml, Some("503 SlowDown"), Some("500 InternalError")),
            ("monitoring", Protocol::RestJson, None, None),
        ] {
            let asked = asked(service, protocol);
            assert_eq!(said(throttled(&asked)).as_deref(), throttle);
            assert_eq!(said(failed(&asked, None, None, None)).as_deref(), broken);
        }
        let ec2 = asked("ec2", Protocol::Ec2);
        assert_eq!(said(failed(&ec2, Some("Unavailable"), None, None)).unwrap(), "503 Unavailable");
        assert_eq!(said(failed(&ec2, Some("IncorrectState"), None, None)).unwrap(), "400 IncorrectState");
        assert_eq!(said(failed(&ec2, Some("InternalError"), Some(503), None)).unwrap(), "503 InternalError");
    }
}
