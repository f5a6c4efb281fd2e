//! The balancer's own answers, as the real one writes them.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION, SERVER};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};

/// What goes back to a client: the balancer's own words, or a target's as they come.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;

/// Why a body ends early; the client sees its connection break.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The target broke off.
    #[error("the target broke off its answer")]
    Broken(#[from] hyper::Error),
    /// The idle timeout passed without a byte.
    #[error("the target sent nothing within the idle timeout")]
    Idle,
    /// The target's deregistration delay is over.
    #[error("the deregistration delay of the target is over")]
    Deregistered,
}

/// Why the balancer answers itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The request is malformed.
    BadRequest,
    /// The real balancer refuses TRACE.
    MethodNotAllowed,
    /// The target refused or broke the connection, or its answer is none.
    BadGateway,
    /// No target to send it to.
    ServiceUnavailable,
    /// The target was too slow to connect or to answer.
    GatewayTimeout,
}

impl Refusal {
    /// Its status and title; the phrases are nginx's, as on the real balancer.
    #[must_use]
    pub fn status(self) -> (StatusCode, &'static str) {
        match self {
            Refusal::BadRequest => (StatusCode::BAD_REQUEST, "400 Bad Request"),
            Refusal::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "405 Method Not Allowed"),
            Refusal::BadGateway => (StatusCode::BAD_GATEWAY, "502 Bad Gateway"),
            Refusal::ServiceUnavailable => (StatusCode::SERVICE_UNAVAILABLE, "503 Service Temporarily Unavailable"),
            Refusal::GatewayTimeout => (StatusCode::GATEWAY_TIMEOUT, "504 Gateway Time-out"),
        }
    }

    /// The answer.
    #[must_use]
    pub fn answer(self) -> Response<Body> {
        let (status, title) = self.status();
        let mut response = own(status, Some("text/html"), page(title));
        response.extensions_mut().insert(reason(title));
        response
    }
}

/// The body of a `fixed-response` action.
#[must_use]
pub fn fixed(status: u16, content_type: &str, body: &str) -> Response<Body> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let content_type = if content_type.is_empty() { "text/plain" } else { content_type };
    own(status, Some(&format!("{content_type}; charset=utf-8")), body.to_owned())
}

/// A `redirect` action's answer.
#[must_use]
pub fn redirect(status: u16, location: &str) -> Response<Body> {
    let (status, title) = if status == 301 {
        (StatusCode::MOVED_PERMANENTLY, "301 Moved Permanently")
    } else {
        (StatusCode::FOUND, "302 Found")
    };
    let mut response = own(status, Some("text/html"), page(title));
    match HeaderValue::from_str(location) {
        Ok(location) => {
            response.headers_mut().insert(LOCATION, location);
            response
        }
        // Only what a client sent can make it so.
        Err(_) => Refusal::BadRequest.answer(),
    }
}

fn page(title: &str) -> String {
    format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n</body>\r\n</html>\r\n"
    )
}

fn reason(title: &'static str) -> hyper::ext::ReasonPhrase {
    hyper::ext::ReasonPhrase::from_static(title.split_once(' ').map_or(title, |(_, phrase)| phrase).as_bytes())
}

fn own(status: StatusCode, content_type: Option<&str>, body: String) -> Response<Body> {
    let body = Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(SERVER, HeaderValue::from_static("awselb/2.0"));
    if let Some(Ok(content_type)) = content_type.map(HeaderValue::from_str) {
        response.headers_mut().insert(CONTENT_TYPE, content_type);
    }
    response
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    /// The lengths are those seen in the wild beside `Server: awselb/2.0`.
    #[tokio::test]
    async fn the_pages_are_as_long_as_the_real_ones() {
        for (refusal, length) in
            [(Refusal::BadGateway, 122), (Refusal::ServiceUnavailable, 162), (Refusal::GatewayTimeout, 132)]
        {
            let response = refusal.answer();
            assert_eq!(response.headers()[SERVER], "awselb/2.0");
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body.len(), length, "{refusal:?}");
        }
        assert_eq!(redirect(301, "https://x:443/").into_body().collect().await.unwrap().to_bytes().len(), 134);
    }
}
