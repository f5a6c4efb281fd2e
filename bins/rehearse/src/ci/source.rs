//! The text that a person wrote, and a place in it.

use std::fmt;
use std::sync::Arc;

/// A file's name and text. Cheap to clone, so that each node can say where it stands.
#[derive(Clone)]
pub struct Source(Arc<File>);

struct File {
    name: String,
    text: String,
}

impl Source {
    /// The text under the name that messages are to show.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Source(Arc::new(File { name: name.into(), text: text.into() }))
    }

    /// The name that messages show.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// The very beginning, for what is wrong with the file as a whole.
    pub fn start(&self) -> At {
        At { source: self.clone(), line: 1, column: 1 }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A place in a file; line and column count from 1, the column in characters.
#[derive(Clone)]
pub struct At {
    /// The file.
    pub source: Source,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

impl At {
    /// The line of text that the place is on.
    pub(super) fn line_of_text(&self) -> Option<&str> {
        self.source.text().lines().nth(self.line.checked_sub(1)?)
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.source.name(), self.line, self.column)
    }
}

impl fmt::Debug for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
