//! What a person and a pipe get to see: results on stdout, everything else on stderr.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// The printer of a step. Cheap to clone; clones share the terminal.
#[derive(Clone, Debug)]
pub struct Console {
    live: Option<Arc<ProgressBar>>,
}

impl Console {
    /// Lines on a pipe or in CI; a moving line as well on a terminal.
    #[must_use]
    pub fn new() -> Self {
        let moving = std::io::stderr().is_terminal() && std::env::var_os("CI").is_none();
        let live = moving.then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("  {spinner} {wide_msg}") {
                bar.set_style(style);
            }
            // Nothing moves before something is waited for.
            bar.finish_and_clear();
            Arc::new(bar)
        });
        Console { live }
    }

    /// A line of progress, on stderr.
    pub fn say(&self, line: impl AsRef<str>) {
        let line = line.as_ref();
        let print = || {
            // A closed stderr is no reason to stop in the middle of a bake.
            let _ = writeln!(anstream::stderr().lock(), "{line}");
        };
        match &self.live {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// A result, on stdout: what `$(gyron-bake)` or `| jq` reads.
    ///
    /// # Errors
    /// Where stdout can't be written. A reader that has gone away is no error.
    pub fn result(&self, line: impl AsRef<str>) -> std::io::Result<()> {
        self.clear();
        let mut stdout = std::io::stdout().lock();
        match writeln!(stdout, "{}", line.as_ref()).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }

    /// Opens a wait: a moving line on a terminal, a heartbeat line at least every 30 s elsewhere.
    #[must_use]
    pub fn waiting(&self, what: impl Into<String>) -> Waiting {
        let now = Instant::now();
        Waiting { console: self.clone(), what: what.into(), begun: now, beat: now }
    }

    fn clear(&self) {
        if let Some(bar) = &self.live {
            bar.finish_and_clear();
        }
    }
}

impl Default for Console {
    fn default() -> Self {
        Self::new()
    }
}

/// How often a silent wait says that it is alive. CircleCI kills a step that is silent for 10 minutes.
pub const HEARTBEAT: Duration = Duration::from_secs(30);

/// A wait that a person can watch.
#[derive(Debug)]
pub struct Waiting {
    console: Console,
    what: String,
    begun: Instant,
    beat: Instant,
}

impl Waiting {
    /// Shows the latest state.
    pub fn seen(&mut self, state: &str) {
        let elapsed = self.begun.elapsed();
        let line = format!("{}: {state} ({})", self.what, span(Duration::from_secs(elapsed.as_secs())));
        if let Some(bar) = &self.console.live {
            if bar.is_finished() {
                bar.reset();
            }
            bar.set_message(line);
            bar.tick();
        } else if self.beat.elapsed() >= HEARTBEAT {
            self.beat = Instant::now();
            self.console.say(format!("  … {line}"));
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.console.clear();
    }
}

/// A length of time for a person: `850ms`, `4.2s`, `35s`, `2m 5s`, `1h 30m`.
#[must_use]
pub fn span(length: Duration) -> String {
    let seconds = length.as_secs();
    match seconds {
        0 if length.subsec_millis() > 0 => format!("{}ms", length.subsec_millis()),
        0..10 if length.subsec_millis() >= 100 => format!("{seconds}.{}s", length.subsec_millis() / 100),
        0..60 => format!("{seconds}s"),
        60..3600 if seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        172_800.. if seconds % 86_400 / 3600 == 0 => format!("{}d", seconds / 86_400),
        172_800.. => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3600),
        _ if seconds % 3600 / 60 == 0 => format!("{}h", seconds / 3600),
        _ => format!("{}h {}m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// A number of bytes for a person: `640 B`, `1.2 MB`.
#[must_use]
pub fn bytes(count: u64) -> String {
    let (mut tenths, mut unit) = (count.saturating_mul(10), "B");
    for larger in ["kB", "MB", "GB", "TB"] {
        if tenths < 10_000 {
            break;
        }
        (tenths, unit) = (tenths / 1000, larger);
    }
    match unit {
        "B" => format!("{count} B"),
        _ => format!("{}.{} {unit}", tenths / 10, tenths % 10),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{bytes, span};

    #[test]
    fn lengths_of_time_read_as_a_person_says_them() {
        let shown = [0, 850, 4_250, 35_900, 60_000, 125_000, 3_600_000, 5_400_000]
            .map(|milliseconds| span(Duration::from_millis(milliseconds)));
        assert_eq!(shown, ["0s", "850ms", "4.2s", "35s", "1m", "2m 5s", "1h", "1h 30m"]);
    }

    #[test]
    fn sizes_read_as_a_person_says_them() {
        assert_eq!([640, 1_000, 1_250_000].map(bytes), ["640 B", "1.0 kB", "1.2 MB"]);
    }
}
