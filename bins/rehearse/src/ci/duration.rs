//! "A decimal with unit suffix, such as "20m", "1.25h", "5s"."

use std::time::Duration;

/// The duration that a text says.
pub(super) fn read(text: &str) -> Option<Duration> {
    let unit = match text.chars().last()? {
        's' => 1.0,
        'm' => 60.0,
        'h' => 3600.0,
        _ => return None,
    };
    let number = &text[..text.len() - 1];
    let decimal =
        number.starts_with(|c: char| c.is_ascii_digit()) && number.chars().all(|c| c.is_ascii_digit() || c == '.');
    let number: f64 = if decimal { number.parse().ok()? } else { return None };
    Duration::try_from_secs_f64(number * unit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_with_a_unit() {
        assert_eq!(read("20m"), Some(Duration::from_secs(1200)));
        assert_eq!(read("1.25h"), Some(Duration::from_secs(4500)));
        assert_eq!(read("0.5s"), Some(Duration::from_millis(500)));
        for wrong in ["", "m", "10", "ten m", "-1s", "1d", "1e3s", "infs", "1.2.3s"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
