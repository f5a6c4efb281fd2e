//! The stream of a play's output, as the builder frames it (`builder/live.py`): lines and events, each with its time.

use std::time::Duration;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A line of output, or its end.
    Line,
    /// A piece of a line that goes on.
    Piece,
    /// Something that the play's callback says, as JSON.
    Event,
}

/// A line of output or an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    /// Since the play began.
    pub(crate) at: Duration,
    pub(crate) kind: Kind,
    pub(crate) text: &'a [u8],
}

/// Puts frames together from chunks that may end anywhere.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    begun: Vec<u8>,
}

impl Frames {
    /// Takes a chunk, and gives each frame that it completes.
    pub(crate) fn take(&mut self, chunk: &[u8], mut see: impl FnMut(Frame<'_>)) {
        let mut rest = chunk;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = (&rest[..end], &rest[end + 1..]);
            rest = after;
            if self.begun.is_empty() {
                see(read(line));
            } else {
                self.begun.extend_from_slice(line);
                see(read(&self.begun));
                self.begun.clear();
            }
        }
        self.begun.extend_from_slice(rest);
    }
}

/// What is no frame is a line of its own: nothing that the builder sent is lost.
fn read(line: &[u8]) -> Frame<'_> {
    let framed = || {
        let space = line.iter().position(|byte| *byte == b' ')?;
        let at = std::str::from_utf8(&line[..space]).ok()?.parse().ok()?;
        let kind = match line.get(space + 1)? {
            b'|' => Kind::Line,
            b':' => Kind::Piece,
            b'@' => Kind::Event,
            _ => return None,
        };
        Some(Frame { at: Duration::from_millis(at), kind, text: &line[space + 2..] })
    };
    framed().unwrap_or(Frame { at: Duration::ZERO, kind: Kind::Line, text: line })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Frames, Kind};

    fn frames(chunks: &[&[u8]]) -> Vec<(u128, Kind, String)> {
        let mut frames = Frames::default();
        let mut seen = Vec::new();
        for chunk in chunks {
            frames.take(chunk, |frame| {
                seen.push((frame.at.as_millis(), frame.kind, String::from_utf8_lossy(frame.text).into_owned()));
            });
        }
        seen
    }

    #[test]
    fn lines_pieces_and_events_have_their_times() {
        assert_eq!(
            frames(&[b"12 |PLAY [all]\n340 @{\"end\":true}\n400 :abc\n401 |def\nno frame\n"]),
            [
                (12, Kind::Line, "PLAY [all]".to_owned()),
                (340, Kind::Event, "{\"end\":true}".to_owned()),
                (400, Kind::Piece, "abc".to_owned()),
                (401, Kind::Line, "def".to_owned()),
                (0, Kind::Line, "no frame".to_owned()),
            ]
        );
    }

    proptest! {
        /// However the stream is cut into chunks, the same frames come out of it.
        #[test]
        fn chunks_may_end_anywhere(
            lines in proptest::collection::vec(("[0-9]{1,6}", "[|:@]", "[ -~]{0,20}"), 0..12),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..8),
        ) {
            let stream: String = lines.iter().map(|(at, kind, text)| format!("{at} {kind}{text}\n")).collect();
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            at.extend([0, stream.len()]);
            at.sort_unstable();
            let chunks: Vec<&[u8]> = at.windows(2).map(|pair| &stream.as_bytes()[pair[0]..pair[1]]).collect();
            prop_assert_eq!(frames(&chunks), frames(&[stream.as_bytes()]));
            prop_assert_eq!(frames(&chunks).len(), lines.len());
        }
    }
}
