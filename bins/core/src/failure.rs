//! The one error type of gyron's programs: what a person at 3 a.m. gets to read.

use std::error::Error;
use std::fmt::{self, Write as _};

use crate::exit::Exit;

/// The result of anything that can end a step.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

type Cause = Box<dyn Error + Send + Sync>;

/// Why a step ended: a kind (its exit code), a message in lower case, the cause in the chain, what had already
/// happened by then, and the next command as a hint.
///
/// ```
/// use gyron_core::failure::Failure;
/// let failure = Failure::refused("the live colour is green, but the records say blue")
///     .already("the edge's weights are unchanged")
///     .hint("run gyron-launch again");
/// assert_eq!(failure.exit().code(), 3);
/// ```
#[derive(Debug)]
pub struct Failure(Box<Parts>);

#[derive(Debug)]
struct Parts {
    exit: Exit,
    message: String,
    detail: Option<String>,
    already: Vec<String>,
    hints: Vec<String>,
    cause: Option<Cause>,
}

impl Failure {
    /// A failure of the given kind; prefer the constructors named for the kinds.
    #[must_use]
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Failure(Box::new(Parts {
            exit,
            message: message.into(),
            detail: None,
            already: Vec::new(),
            hints: Vec::new(),
            cause: None,
        }))
    }

    /// It said no (1): a verdict, not a breakdown.
    #[must_use]
    pub fn no(message: impl Into<String>) -> Self {
        Self::new(Exit::No, message)
    }

    /// Usage or configuration (2).
    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// The world is not as the records say (3).
    #[must_use]
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(Exit::Refused, message)
    }

    /// AWS refused or failed (4).
    #[must_use]
    pub fn aws(message: impl Into<String>) -> Self {
        Self::new(Exit::Aws, message)
    }

    /// A program gyron ran is missing or failed (5).
    #[must_use]
    pub fn program(message: impl Into<String>) -> Self {
        Self::new(Exit::Program, message)
    }

    /// A deadline passed (6).
    #[must_use]
    pub fn deadline(message: impl Into<String>) -> Self {
        Self::new(Exit::Deadline, message)
    }

    /// A defect of gyron itself (70).
    #[must_use]
    pub fn defect(message: impl Into<String>) -> Self {
        Self::new(Exit::Defect, message)
    }

    /// Keeps the cause in the chain.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Cause>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// Several lines shown as they are below the message: a caret, a table of targets, the end of a log.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// Adds a side effect that had already happened.
    #[must_use]
    pub fn already(mut self, effect: impl Into<String>) -> Self {
        self.0.already.push(effect.into());
        self
    }

    /// Adds the next command to try, or what to look at.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hints.push(hint.into());
        self
    }

    /// The kind, which decides the exit code.
    #[must_use]
    pub fn exit(&self) -> Exit {
        self.0.exit
    }

    /// The message alone, without cause, detail or hint.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The whole text for a person: `error:`, the chain, the detail, what has already happened, the hints.
    #[must_use]
    pub fn report(&self) -> String {
        let parts = &self.0;
        let mut text = format!("error: {}\n", parts.message);
        let mut cause = self.source();
        while let Some(error) = cause {
            let _ = writeln!(text, "  caused by: {error}");
            cause = error.source();
        }
        if let Some(detail) = &parts.detail {
            text.push_str(detail.trim_end_matches('\n'));
            text.push('\n');
        }
        for effect in &parts.already {
            let _ = writeln!(text, "  already: {effect}");
        }
        for hint in &parts.hints {
            let _ = writeln!(text, "hint: {hint}");
        }
        text
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.cause.as_deref().map(|cause| cause as &(dyn Error + 'static))
    }
}

/// Turns any error into a failure that keeps it as the cause.
pub trait OrFail<T> {
    /// Wraps the error: `file.read().or_fail(|| Failure::usage("can't read x"))?`.
    ///
    /// # Errors
    /// The failure that `failure` makes, with the error as its cause.
    fn or_fail(self, failure: impl FnOnce() -> Failure) -> Result<T>;
}

impl<T, E: Into<Cause>> OrFail<T> for std::result::Result<T, E> {
    fn or_fail(self, failure: impl FnOnce() -> Failure) -> Result<T> {
        self.map_err(|error| failure().because(error))
    }
}
