//! Session tokens of IMDSv2: signed, so that nothing has to be remembered about them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

/// The longest life of a token in seconds; the shortest is 1. EC2 User Guide, "use IMDSv2".
pub const LONGEST: u32 = 21_600;

/// What signs tokens: made new by every daemon, so a token dies with it, and its holder is told 401 and asks again.
pub struct Seal([u8; 32]);

impl Seal {
    /// A new one from the system's randomness.
    #[must_use]
    pub fn new() -> Self {
        Seal(rand::random())
    }

    /// A token for one instance, good until `now` plus `ttl` seconds.
    #[must_use]
    pub fn token(&self, instance: &str, ttl: u32, now: Timestamp) -> String {
        let until = (now.as_second() + i64::from(ttl)).to_be_bytes();
        let mut token = until.to_vec();
        token.extend(self.sign(instance, until));
        URL_SAFE.encode(token)
    }

    /// Whether this is a token of this instance that hasn't expired.
    #[must_use]
    pub fn accepts(&self, token: &str, instance: &str, now: Timestamp) -> bool {
        let Ok(bytes) = URL_SAFE.decode(token.trim()) else { return false };
        let Some((until, signature)) = bytes.split_first_chunk::<8>() else { return false };
        signature == self.sign(instance, *until) && now.as_second() < i64::from_be_bytes(*until)
    }

    fn sign(&self, instance: &str, until: [u8; 8]) -> [u8; 32] {
        let inner = Sha256::new().chain_update(self.0).chain_update(until).chain_update(instance).finalize();
        Sha256::new().chain_update(self.0).chain_update(inner).finalize().into()
    }
}

/// The TTL header's value, if it is one.
#[must_use]
pub fn ttl(header: Option<&str>) -> Option<u32> {
    header?.trim().parse().ok().filter(|ttl| (1..=LONGEST).contains(ttl))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_of_one_instance_and_of_a_time() {
        let seal = Seal::new();
        let then: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let after = |seconds| Timestamp::from_second(then.as_second() + seconds).unwrap();
        let token = seal.token("i-1", 60, then);
        assert!(seal.accepts(&token, "i-1", then));
        assert!(seal.accepts(&token, "i-1", after(59)));
        assert!(!seal.accepts(&token, "i-1", after(60)), "expired");
        assert!(!seal.accepts(&token, "i-2", then), "of another instance");
        assert!(!Seal::new().accepts(&token, "i-1", then), "of another daemon");
        for wrong in ["", "x", "AAAA", &token[1..]] {
            assert!(!seal.accepts(wrong, "i-1", then), "{wrong}");
        }
    }

    #[test]
    fn ttls() {
        for (header, want) in [
            (None, None),
            (Some(""), None),
            (Some("0"), None),
            (Some("1"), Some(1)),
            (Some("21600"), Some(21600)),
            (Some("21601"), None),
        ] {
            assert_eq!(ttl(header), want, "{header:?}");
        }
    }
}
