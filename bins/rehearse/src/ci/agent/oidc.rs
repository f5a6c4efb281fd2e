//! OpenID Connect tokens with the claims that CircleCI documents
//! (<https://circleci.com/docs/guides/permissions-authentication/openid-connect-tokens/>), for a cloud that trusts this machine.
//!
//! They carry no signature: nobody but a rehearsal cloud takes one.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gyron_core::failure::{Failure, Result};
use serde_json::{Map, Value, json};

/// CircleCI's own life of a token.
const LIVES: Duration = Duration::from_secs(3600);

/// What `circleci run oidc get` may ask for.
#[derive(Clone, Debug, Default)]
pub struct More {
    /// More claims, such as `aud`.
    pub claims: Option<Map<String, Value>>,
    /// Its life.
    pub lives: Option<Duration>,
}

/// A token of the job whose variables these are.
#[must_use]
pub fn mint(variable: &impl Fn(&str) -> Option<String>, more: Option<More>) -> String {
    let more = more.unwrap_or_default();
    let of = |name: &str| variable(name).unwrap_or_default();
    let (organization, project) = (of("CIRCLE_ORGANIZATION_ID"), of("CIRCLE_PROJECT_ID"));
    let now = jiff::Timestamp::now().as_second();
    let lives = i64::try_from(more.lives.unwrap_or(LIVES).as_secs()).unwrap_or(i64::MAX - now);
    let mut claims = json!({
        "iss": format!("https://oidc.circleci.com/org/{organization}"),
        "aud": organization,
        "sub": format!("org/{organization}/project/{project}/user/{}", of("CIRCLE_USERNAME")),
        "iat": now,
        "exp": now + lives,
        "oidc.circleci.com/project-id": project,
    });
    if let (Some(known), Some(more)) = (claims.as_object_mut(), more.claims) {
        known.extend(more);
    }
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", part(&json!({"alg": "none", "typ": "JWT"})), part(&claims))
}

/// `45m`, `1h`, `90s`.
///
/// # Errors
/// Usage (2).
pub fn ttl(text: &str) -> Result<Duration> {
    let span: Result<jiff::SignedDuration, _> = text.parse();
    let parsed = span.ok().and_then(|span| Duration::try_from(span).ok());
    parsed.ok_or_else(|| Failure::usage(format!("--ttl {text} is no length of time such as 45m")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may")]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_whose_job_it_is_and_lives_an_hour() {
        let variable = |name: &str| (name == "CIRCLE_PROJECT_ID").then(|| "p1".to_owned());
        let token = mint(&variable, None);
        let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
        let claims: Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!(claims["oidc.circleci.com/project-id"], "p1");
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 3600);
        assert_eq!(ttl("45m").unwrap(), Duration::from_secs(2700));
        assert!(ttl("soon").is_err());
    }
}
