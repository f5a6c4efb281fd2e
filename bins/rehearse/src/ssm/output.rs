//! Where Run Command cuts output. Lengths are of bytes, as the agent's own source counts them.

/// What GetCommandInvocation shows of stdout at most.
pub const STDOUT: usize = 24_000;
/// What GetCommandInvocation shows of stderr at most.
pub const STDERR: usize = 8_000;
/// What ListCommandInvocations shows of both at most.
pub const BOTH: usize = 2_500;

const SUFFIX: &[u8] = b"--output truncated--";
const ERROR_TITLE: &[u8] = b"\n----------ERROR-------\n";
const OUT_CUT: &[u8] = b"\n---Output truncated---";
const ERROR_CUT: &[u8] = b"\n---Error truncated----";

/// One stream for GetCommandInvocation: what reaches `limit` is cut and ends in `--output truncated--`.
#[must_use]
pub fn stream(bytes: &[u8], limit: usize) -> String {
    if bytes.len() < limit {
        return lossy(bytes);
    }
    lossy(&[&bytes[..limit - SUFFIX.len()], SUFFIX].concat())
}

/// Both streams for ListCommandInvocations with details: stdout, a line, stderr, each giving way to the other.
#[must_use]
pub fn both(stdout: &[u8], stderr: &[u8]) -> String {
    let title = if stderr.is_empty() { &[][..] } else { ERROR_TITLE };
    let room = BOTH - title.len();
    if stdout.len() + stderr.len() < room {
        return lossy(&[stdout, title, stderr].concat());
    }
    if stdout.len() > room / 2 && stderr.len() > room / 2 {
        let half = (room - ERROR_CUT.len() - OUT_CUT.len()) / 2;
        return lossy(&[&stdout[..half], OUT_CUT, title, &stderr[..half], ERROR_CUT].concat());
    }
    if stdout.len() <= room / 2 {
        let left = room - ERROR_CUT.len() - stdout.len();
        return lossy(&[stdout, title, &stderr[..left.min(stderr.len())], ERROR_CUT].concat());
    }
    let left = room - OUT_CUT.len() - stderr.len();
    lossy(&[&stdout[..left.min(stdout.len())], OUT_CUT, title, stderr].concat())
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_cut_where_it_reaches_the_limit() {
        assert_eq!(stream(b"short\n", STDOUT), "short\n");
        assert_eq!(stream(&[b'x'; 23_999], STDOUT).len(), 23_999);
        for length in [24_000, 24_001, 100_000] {
            let cut = stream(&vec![b'x'; length], STDOUT);
            assert_eq!(cut.len(), STDOUT);
            assert!(cut.ends_with("xx--output truncated--"));
        }
        assert_eq!(stream(&[b'x'; 9000], STDERR).len(), STDERR);
        let split = stream("é".repeat(20_000).as_bytes(), STDERR + 1);
        assert!(split.contains('\u{fffd}'), "a letter cut in two is replaced");
    }

    #[test]
    fn both_streams_share_the_room() {
        assert_eq!(both(b"out\n", b""), "out\n");
        assert_eq!(both(b"out\n", b"err\n"), "out\n\n----------ERROR-------\nerr\n");
        let (long, short) = (vec![b'o'; 5000], b"e");
        let cut = both(&long, b"");
        assert!(cut.len() == BOTH && cut.ends_with("\n---Output truncated---"), "{}", cut.len());
        let cut = both(&long, short);
        assert!(cut.len() == BOTH && cut.ends_with("---Output truncated---\n----------ERROR-------\ne"));
        let cut = both(b"o", &long);
        assert!(
            cut.len() == BOTH && cut.starts_with("o\n----------ERROR") && cut.ends_with("\n---Error truncated----")
        );
        let cut = both(&long, &long);
        assert!(cut.len() <= BOTH && cut.contains("\n---Output truncated---\n----------ERROR"));
    }

    #[test]
    fn no_pair_of_lengths_passes_the_limit() {
        for out in (0..2600).step_by(13) {
            for err in (0..2600).step_by(17) {
                assert!(both(&vec![b'o'; out], &vec![b'e'; err]).len() <= BOTH, "{out} {err}");
            }
        }
    }
}
