//! What SSM says when it refuses.

/// An error of the JSON 1.1 protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsError {
    /// The shape's name: `InvalidInstanceId` …
    pub code: String,
    /// What a person reads.
    pub message: String,
    /// The HTTP status: 400, or 500 where it is ours.
    pub status: u16,
}

impl AwsError {
    /// A refusal: 400.
    #[must_use]
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        AwsError { code: code.to_owned(), message: message.into(), status: 400 }
    }

    /// A request that breaks the API's own rules of form.
    #[must_use]
    pub fn validation(message: impl Into<String>) -> Self {
        Self::new("ValidationException", message)
    }

    /// What AWS can do and the rehearsal can't: said aloud, never pretended.
    #[must_use]
    pub fn beyond(what: &str) -> Self {
        Self::new("UnsupportedOperationException", format!("the rehearsal cloud can't do this yet: {what}"))
    }
}
