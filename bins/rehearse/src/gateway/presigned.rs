//! Presigned S3 requests: moto takes them for ever; S3 refuses them past their time.

use http::StatusCode;
use jiff::{SignedDuration, Timestamp};

use super::params::Params;
use super::refusal::Refusal;

/// Refuses a presigned request whose time is over.
///
/// # Errors
/// S3's own: <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html>.
pub fn in_time(query: &Params, now: Timestamp) -> Result<(), Refusal> {
    let Some(signed) = query.get("X-Amz-Date") else { return in_time_by_version_2(query, now) };
    let seconds: Option<i64> = query.get("X-Amz-Expires").and_then(|text| text.parse().ok());
    let malformed = |message: &str| Refusal::client("AuthorizationQueryParametersError", message);
    let seconds = seconds.ok_or_else(|| malformed("X-Amz-Expires should be a number"))?;
    if seconds > 604_800 {
        return Err(malformed(
            "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than \
             604800 seconds",
        ));
    }
    let signed = jiff::fmt::strtime::parse("%Y%m%dT%H%M%S%z", signed.replace('Z', "+0000"))
        .and_then(|time| time.to_timestamp())
        .map_err(|_| malformed("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\""))?;
    let expires = signed + SignedDuration::from_secs(seconds);
    if now <= expires { Ok(()) } else { Err(expired(Some(seconds), expires, now)) }
}

/// The older signature, which boto3 still takes for presigned URLs in us-east-1: `Expires` is a Unix time.
fn in_time_by_version_2(query: &Params, now: Timestamp) -> Result<(), Refusal> {
    let (Some(_), Some(expires)) = (query.get("AWSAccessKeyId"), query.get("Expires")) else { return Ok(()) };
    let expires: Option<Timestamp> = expires.parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    match expires {
        Some(expires) if now > expires => Err(expired(None, expires, now)),
        Some(_) => Ok(()),
        None => {
            Err(Refusal::new(StatusCode::FORBIDDEN, "AccessDenied", "Invalid date (should be seconds since epoch)"))
        }
    }
}

fn expired(seconds: Option<i64>, expires: Timestamp, now: Timestamp) -> Refusal {
    let mut refusal = Refusal::new(StatusCode::FORBIDDEN, "AccessDenied", "Request has expired");
    refusal.members.extend(seconds.map(|seconds| ("X-Amz-Expires", seconds.to_string())));
    refusal.members.push(("Expires", expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()));
    refusal.members.push(("ServerTime", now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()));
    refusal
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_presigned_request_is_good_for_its_time() {
        let query = Params::parse(b"X-Amz-Date=20261123T140000Z&X-Amz-Expires=60");
        let at = |text: &str| in_time(&query, text.parse().unwrap());
        assert_eq!(at("2026-11-23T14:01:00Z"), Ok(()));
        let refusal = at("2026-11-23T14:01:01Z").unwrap_err();
        assert_eq!((refusal.status.as_u16(), refusal.message.as_str()), (403, "Request has expired"));
        assert_eq!(refusal.members[1].1, "2026-11-23T14:01:00Z");
        let older = Params::parse(b"AWSAccessKeyId=A&Signature=x&Expires=1795447463");
        assert_eq!(in_time(&older, Timestamp::from_second(1_795_447_463).unwrap()), Ok(()));
        assert!(in_time(&older, Timestamp::from_second(1_795_447_464).unwrap()).is_err());
        assert_eq!(in_time(&Params::parse(b"list-type=2"), Timestamp::now()), Ok(()));
    }
}
