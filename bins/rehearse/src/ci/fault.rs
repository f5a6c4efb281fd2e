//! What is wrong with a config: the place, the words of the real compiler, and a hint.

use std::fmt;

use super::source::At;

/// One thing that is wrong.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Where.
    pub at: At,
    /// What was being called, outermost first: `Error calling job: 'x'`.
    pub calls: Vec<String>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Fault {
    /// A fault at a place.
    pub fn new(at: &At, message: impl Into<String>) -> Self {
        Fault { at: at.clone(), calls: Vec::new(), message: message.into(), hint: None }
    }

    /// A key or step that CircleCI knows and this runner doesn't do.
    pub(super) fn not_run_here(at: &At, what: &str) -> Self {
        Fault::new(at, format!("not run here: {what}"))
    }

    pub(super) fn hint(mut self, hint: impl Into<Option<String>>) -> Self {
        self.hint = hint.into();
        self
    }

    /// The lines that say it, without place and hint.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.calls.iter().map(String::as_str).chain(self.message.lines())
    }

    /// The whole report: the line of the file, a caret and the hint.
    pub fn render(&self) -> String {
        let said: Vec<_> = self.lines().collect();
        let mut report =
            format!("error: {} line {}: {}\n --> {}", self.at.source.name(), self.at.line, said.join("\n"), self.at);
        if let Some(line) = self.at.line_of_text() {
            let number = self.at.line.to_string();
            let margin = " ".repeat(number.len());
            // A tab before the place is kept as a tab, so that the caret stands under it.
            let lead: String =
                line.chars().take(self.at.column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            report.push_str(&format!("\n{margin} |\n{number} | {line}\n{margin} | {lead}^"));
        }
        if let Some(hint) = &self.hint {
            report.push_str(&format!("\nhint: {hint}"));
        }
        report
    }
}

/// The short form: `config.yml:7:9: …`, then the hint.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said: Vec<_> = self.lines().collect();
        write!(f, "{}: {}", self.at, said.join("\n"))?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong, as far as one look can tell.
#[derive(Debug, Clone, Default, thiserror::Error)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// The faults, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter()
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All reports, a blank line between.
    pub fn render(&self) -> String {
        self.0.iter().map(Fault::render).collect::<Vec<_>>().join("\n\n")
    }

    pub(super) fn push(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub(super) fn extend(&mut self, other: Faults) {
        self.0.extend(other.0);
    }

    /// Keeps what went well and collects what did not.
    pub(super) fn note<T>(&mut self, outcome: Result<T, Faults>) -> Option<T> {
        match outcome {
            Ok(value) => Some(value),
            Err(faults) => {
                self.extend(faults);
                None
            }
        }
    }

    /// The value, unless something was wrong.
    pub(super) fn or<T>(self, value: T) -> Result<T, Faults> {
        if self.is_empty() { Ok(value) } else { Err(self) }
    }

    /// Says what was being called.
    pub(super) fn calling(mut self, kind: &str, name: &str) -> Self {
        for fault in &mut self.0 {
            fault.calls.insert(0, format!("Error calling {kind}: '{name}'"));
        }
        self
    }

    /// In the order of the file, each place and message once: a command that is called twice is wrong once.
    pub(super) fn sorted(mut self) -> Self {
        self.0.sort_by(|a, b| {
            let key = |fault: &Fault| (fault.at.source.name().to_owned(), fault.at.line, fault.at.column);
            key(a).cmp(&key(b)).then_with(|| a.message.cmp(&b.message))
        });
        self.0.dedup_by(|a, b| a.at.to_string() == b.at.to_string() && a.message == b.message);
        self
    }
}

impl From<Fault> for Faults {
    fn from(fault: Fault) -> Self {
        Faults(vec![fault])
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said: Vec<_> = self.0.iter().map(Fault::to_string).collect();
        f.write_str(&said.join("\n"))
    }
}

/// Every outcome, or everything that went wrong in any of them.
pub(super) fn gather<T>(outcomes: impl IntoIterator<Item = Result<T, Faults>>) -> Result<Vec<T>, Faults> {
    let mut faults = Faults::default();
    let values: Vec<_> = outcomes.into_iter().filter_map(|outcome| faults.note(outcome)).collect();
    faults.or(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ci::source::Source;

    #[test]
    fn a_report_shows_the_line_and_a_caret() {
        let source = Source::new("config.yml", "jobs:\n  build:\n    stpes: []\n");
        let at = At { source, line: 3, column: 5 };
        let fault = Fault::new(&at, "unknown key").hint("did you mean `steps`?".to_owned());
        let report = [
            "error: config.yml line 3: unknown key",
            " --> config.yml:3:5",
            "  |",
            "3 |     stpes: []",
            "  |     ^",
            "hint: did you mean `steps`?",
        ];
        assert_eq!(fault.render(), report.join("\n"));
    }

    #[test]
    fn the_same_fault_from_two_calls_is_said_once() {
        let at = Source::new("config.yml", "").start();
        let mut faults = Faults::from(Fault::new(&at, "wrong")).calling("job", "a");
        faults.extend(Faults::from(Fault::new(&at, "wrong")).calling("job", "b"));
        assert_eq!(faults.sorted().to_string(), "config.yml:1:1: Error calling job: 'a'\nwrong");
    }
}
