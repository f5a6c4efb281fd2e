//! A play's log while it grows: the builder ships it to S3 in numbered chunks, and whoever waits for the play reads it there.
//!
//! Not by CloudWatch Logs, which shows a line some seconds later, needs rights of the builder's instance profile that
//! AmazonSSMManagedInstanceCore doesn't give, and keeps a log group that somebody has to take away.

mod frames;
mod tasks;

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use gyron_core::console::Console;
use gyron_core::failure::{Failure, OrFail as _, Result};
use gyron_core::registry::Registry;
use serde::Serialize;
use tokio::sync::oneshot;

use self::frames::{Frame, Frames, Kind};
use self::tasks::Tasks;

/// How many chunks' addresses are signed at a time. A builder asks for more only while somebody reads.
const BATCH: u32 = 50;

/// How often is looked for the next chunk. With the builder's own beat of 0.4 s a line is shown within 2 s of being printed.
const BEAT: Duration = Duration::from_millis(700);

/// The longest part of a line that is shown; the file has all of it.
const SHOWN: usize = 500;

/// Where the builder puts the next chunks, and where it learns what comes after them.
#[derive(Debug, Serialize)]
pub(crate) struct Addresses {
    put: Vec<String>,
    more: String,
}

/// A play's log.
#[derive(Debug)]
pub(crate) struct Log<'a> {
    console: &'a Console,
    registry: &'a Registry,
    folder: String,
    /// The next chunk to read.
    next: u32,
    /// The next chunk whose address is to be signed.
    unsigned: u32,
    reading: Reading,
}

/// What becomes of what is read.
#[derive(Debug, Default)]
struct Reading {
    frames: Frames,
    tasks: Tasks,
    file: Option<File>,
    /// In the middle of a line that is too long to be shown.
    within: bool,
}

impl<'a> Log<'a> {
    /// The log whose chunks lie in `folder` of the bucket.
    pub(crate) fn new(console: &'a Console, registry: &'a Registry, folder: String) -> Self {
        Log { console, registry, folder, next: 0, unsigned: 0, reading: Reading::default() }
    }

    /// Keeps all of it in a file as well.
    ///
    /// # Errors
    /// Defect (70) where it can't be written.
    pub(crate) fn keep(&mut self, path: &Path) -> Result<()> {
        let made = path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| File::create(path));
        let file = made.or_fail(|| Failure::defect(format!("can't write {}", path.display())))?;
        self.reading.file = Some(file);
        Ok(())
    }

    fn chunk(&self, number: u32) -> String {
        format!("{}/{number:06}", self.folder)
    }

    /// Signs the addresses of the next chunks.
    ///
    /// # Errors
    /// AWS (4).
    pub(crate) async fn sign(&mut self, valid: Duration) -> Result<Addresses> {
        let mut put = Vec::new();
        for number in self.unsigned..self.unsigned + BATCH {
            put.push(self.registry.write_url(&self.chunk(number), valid).await?);
        }
        self.unsigned += BATCH;
        let more = self.registry.read_url(&self.more(), valid).await?;
        Ok(Addresses { put, more })
    }

    fn more(&self) -> String {
        format!("{}/addresses-{}.json", self.folder, self.unsigned)
    }

    /// Shows all chunks that are there.
    ///
    /// # Errors
    /// AWS (4).
    pub(crate) async fn look(&mut self) -> Result<()> {
        while let Some(chunk) = self.registry.bytes(&self.chunk(self.next)).await? {
            self.next += 1;
            self.reading.take(&chunk, self.console)?;
        }
        Ok(())
    }

    /// Shows the log until `over` says that the builder has ended, and then what is left of it. What can't be read now is
    /// read later: no play fails for want of its log.
    pub(crate) async fn follow(&mut self, valid: Duration, mut over: oneshot::Receiver<()>) {
        loop {
            let ended = tokio::select! {
                () = tokio::time::sleep(BEAT) => false,
                _ = &mut over => true,
            };
            let mut looked = self.look().await;
            if looked.is_ok() && self.unsigned > 0 && self.unsigned - self.next <= BATCH / 2 {
                looked = self.sign_more(valid).await;
            }
            if ended {
                if let Err(failure) = looked {
                    self.console.say(format!("  the log breaks off here: {failure}"));
                }
                return;
            }
        }
    }

    async fn sign_more(&mut self, valid: Duration) -> Result<()> {
        let (key, before) = (self.more(), self.unsigned);
        let addresses = self.sign(valid).await?;
        let put = self.registry.put_json(&key, &addresses).await;
        if put.is_err() {
            // The builder waits for just these.
            self.unsigned = before;
        }
        put
    }

    /// Says which tasks took longest.
    pub(crate) fn say_slowest(&self) {
        for task in self.reading.tasks.slowest() {
            let place = if task.path.is_empty() { String::new() } else { format!(" ({})", task.path) };
            self.console.say(format!("  {} {}{place}", seconds(task.took), task.name));
        }
    }
}

impl Reading {
    fn take(&mut self, chunk: &[u8], console: &Console) -> Result<()> {
        let Reading { frames, tasks, file, within } = self;
        let mut written = Ok(());
        frames.take(chunk, |frame| {
            if frame.kind == Kind::Event {
                return tasks.take(frame.at, frame.text);
            }
            if let (Some(file), Ok(())) = (file.as_mut(), &written) {
                written = write(file, &frame);
            }
            if !std::mem::replace(within, frame.kind == Kind::Piece)
                && let Some(line) = shown(&frame)
            {
                console.say(line);
            }
        });
        written.or_fail(|| Failure::defect("the log can't be written to its file"))
    }
}

fn write(file: &mut File, frame: &Frame<'_>) -> io::Result<()> {
    file.write_all(frame.text)?;
    if frame.kind == Kind::Line { file.write_all(b"\n") } else { Ok(()) }
}

/// A line as a person sees it: with its time, and without the stars with which Ansible fills a terminal.
fn shown(frame: &Frame<'_>) -> Option<String> {
    let text = String::from_utf8_lossy(&frame.text[..frame.text.len().min(SHOWN)]);
    let text = text.trim_end().trim_end_matches('*').trim_end();
    let more = if frame.kind == Kind::Piece || frame.text.len() > SHOWN { " …" } else { "" };
    (!text.is_empty()).then(|| format!("  {} | {text}{more}", seconds(frame.at)))
}

/// Seconds in a column of their own.
fn seconds(length: Duration) -> String {
    format!("{:>7.1}s", length.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::frames::{Frame, Kind};
    use super::shown;

    #[test]
    fn a_line_is_shown_with_its_time_and_without_its_stars() {
        let line =
            |text: &str| shown(&Frame { at: Duration::from_millis(12_400), kind: Kind::Line, text: text.as_bytes() });
        assert_eq!(line("TASK [Install nginx] *******").as_deref(), Some("     12.4s | TASK [Install nginx]"));
        assert_eq!(line("  "), None);
        let long = line(&"x".repeat(600)).unwrap_or_default();
        assert!(long.ends_with("xxx …") && long.len() < 530, "{long}");
    }
}
