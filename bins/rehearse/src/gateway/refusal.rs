//! AWS's errors, in the shape of each protocol.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use serde_json::json;

use super::request::Protocol;
use crate::moto::xml::Node;

/// What goes out: whole, or streamed from moto.
pub type Body = BoxBody<Bytes, std::io::Error>;

/// A body that is there as a whole.
#[must_use]
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

/// An AWS error: a code, a sentence and the HTTP status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// The HTTP status.
    pub status: StatusCode,
    /// `InvalidAMIID.NotFound` …
    pub code: String,
    /// The sentence.
    pub message: String,
    /// Further members of S3's error document.
    pub members: Vec<(&'static str, String)>,
}

impl Refusal {
    /// Any error.
    #[must_use]
    pub fn new(status: StatusCode, code: impl Into<String>, message: impl Into<String>) -> Self {
        Refusal { status, code: code.into(), message: message.into(), members: Vec::new() }
    }

    /// A client's error (400).
    #[must_use]
    pub fn client(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// What the rehearsal cannot do truthfully: EC2's own code for what is not supported.
    #[must_use]
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::client("UnsupportedOperation", message)
    }

    /// Moto broke or has no such action.
    #[must_use]
    pub fn moto(action: &str, how: &str) -> Self {
        Self::new(
            StatusCode::NOT_IMPLEMENTED,
            "NotImplemented",
            format!("the rehearsal cannot serve {action}: moto failed ({how})"),
        )
    }

    /// Reads the error out of an answer of the query protocol or of S3.
    #[must_use]
    pub fn read(status: StatusCode, answer: &Node, action: &str) -> Self {
        let error = [["Errors", "Error"].as_slice(), &["Error"]].iter().find_map(|path| answer.at(path));
        let error = error.unwrap_or(answer);
        match error.get(&["Code"]) {
            "" => Self::moto(action, status.as_str()),
            code => Self::new(status, code, error.get(&["Message"])),
        }
    }

    /// The error as the protocol has it.
    #[must_use]
    pub fn answer(&self, protocol: Protocol, request_id: &str) -> Response<Body> {
        let code = || Node::leaf("Code", &self.code);
        let message = || Node::leaf("Message", &self.message);
        let document = match protocol {
            Protocol::Ec2 => Node::new(
                "Response",
                vec![
                    Node::new("Errors", vec![Node::new("Error", vec![code(), message()])]),
                    Node::leaf("RequestID", request_id),
                ],
            ),
            Protocol::Query => {
                let fault = if self.status.is_server_error() { "Receiver" } else { "Sender" };
                Node::new(
                    "ErrorResponse",
                    vec![
                        Node::new("Error", vec![Node::leaf("Type", fault), code(), message()]),
                        Node::leaf("RequestId", request_id),
                    ],
                )
            }
            Protocol::RestXml => {
                let mut members = vec![code(), message()];
                members.extend(self.members.iter().map(|(name, value)| Node::leaf(name, value)));
                members.push(Node::leaf("RequestId", request_id));
                members.push(Node::leaf("HostId", "gyron-rehearse"));
                Node::new("Error", members)
            }
            Protocol::Json10 | Protocol::Json11 | Protocol::RestJson => return self.json(protocol, request_id),
        };
        let mut response = Response::new(full(document.document()));
        *response.status_mut() = self.status;
        let kind = if protocol == Protocol::RestXml { "application/xml" } else { "text/xml;charset=UTF-8" };
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        stamp(&mut response, protocol, request_id);
        response
    }

    fn json(&self, protocol: Protocol, request_id: &str) -> Response<Body> {
        let (body, kind) = match protocol {
            Protocol::RestJson => (json!({"message": self.message}), "application/json"),
            Protocol::Json10 => (json!({"__type": self.code, "message": self.message}), "application/x-amz-json-1.0"),
            _ => (json!({"__type": self.code, "message": self.message}), "application/x-amz-json-1.1"),
        };
        let mut response = Response::new(full(body.to_string()));
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        if let Ok(code) = HeaderValue::from_str(&self.code) {
            response.headers_mut().insert(HeaderName::from_static("x-amzn-errortype"), code);
        }
        stamp(&mut response, protocol, request_id);
        response
    }
}

/// Gives the answer a request id as AWS's have it, in place of moto's.
pub fn stamp<B>(response: &mut Response<B>, protocol: Protocol, request_id: &str) {
    let name = if protocol == Protocol::RestXml { "x-amz-request-id" } else { "x-amzn-requestid" };
    if let Ok(id) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert(HeaderName::from_static(name), id);
    }
}

/// A new request id: a UUID; S3's are sixteen capital hex digits.
#[must_use]
pub fn request_id(protocol: Protocol) -> String {
    let id = uuid::Uuid::new_v4();
    match protocol {
        Protocol::RestXml => id.simple().to_string()[..16].to_uppercase(),
        _ => id.to_string(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    async fn text(refusal: &Refusal, protocol: Protocol) -> String {
        let body = refusal.answer(protocol, "ID").into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn each_protocol_has_its_own_shape() {
        let refusal = Refusal::client("A.B", "no <way>");
        let xml = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
        let cases = [
            (
                Protocol::Ec2,
                format!(
                    "{xml}<Response><Errors><Error><Code>A.B</Code><Message>no &lt;way&gt;</Message></Error></Errors>\
                     <RequestID>ID</RequestID></Response>"
                ),
            ),
            (
                Protocol::Query,
                format!(
                    "{xml}<ErrorResponse><Error><Type>Sender</Type><Code>A.B</Code><Message>no &lt;way&gt;</Message>\
                     </Error><RequestId>ID</RequestId></ErrorResponse>"
                ),
            ),
            (
                Protocol::RestXml,
                format!(
                    "{xml}<Error><Code>A.B</Code><Message>no &lt;way&gt;</Message><RequestId>ID</RequestId>\
                     <HostId>gyron-rehearse</HostId></Error>"
                ),
            ),
            (Protocol::Json11, r#"{"__type":"A.B","message":"no <way>"}"#.to_owned()),
        ];
        for (protocol, expected) in cases {
            assert_eq!(text(&refusal, protocol).await, expected);
        }
    }

    #[test]
    fn an_error_is_read_back_from_its_document() {
        for protocol in [
            "<Response><Errors><Error><Code>C</Code><Message>m</Message></Error></Errors></Response>",
            "<ErrorResponse><Error><Code>C</Code><Message>m</Message></Error></ErrorResponse>",
            "<Error><Code>C</Code><Message>m</Message></Error>",
        ] {
            let read = Refusal::read(StatusCode::BAD_REQUEST, &Node::parse(protocol.as_bytes()).unwrap(), "X");
            assert_eq!(read, Refusal::client("C", "m"));
        }
    }
}
