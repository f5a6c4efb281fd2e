//! What an unquoted word means: YAML 1.1's booleans, as CircleCI's compiler reads them.

use super::Value;

/// The value of a plain scalar.
///
/// CircleCI's booleans are those of YAML 1.1, see <https://circleci.com/docs/reference/reusing-config/#boolean>;
/// of them `y` and `n` are text to its compiler, as CircleCI's own CLI says where it packs
/// (<https://github.com/CircleCI-Public/circleci-cli/blob/main/internal/pack/pack.go>).
pub(super) fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return Value::Bool(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => return Value::Bool(false),
        _ => {}
    }
    whole(text).map(Value::Int).or_else(|| fraction(text).map(Value::Float)).unwrap_or_else(|| Value::Text(text.into()))
}

fn whole(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x', ..] => (16, &digits[2..]),
        [b'0', b'b', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if !digits.starts_with(|first: char| first.is_digit(radix)) {
        return None;
    }
    let digits: String = digits.chars().filter(|c| *c != '_').collect();
    let number = i64::from_str_radix(&digits, radix).ok()?;
    Some(if negative { -number } else { number })
}

fn fraction(text: &str) -> Option<f64> {
    let digits = text.trim_start_matches(['-', '+']);
    match digits {
        ".inf" | ".Inf" | ".INF" => return Some(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY }),
        ".nan" | ".NaN" | ".NAN" => return Some(f64::NAN),
        _ => {}
    }
    let plain = digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'-' | b'+'));
    let numeric = digits.starts_with(|first: char| first.is_ascii_digit() || first == '.');
    if plain && numeric && digits.contains('.') { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_yaml_1_1_are_booleans() {
        for yes in ["yes", "Yes", "YES", "on", "ON", "true", "True"] {
            assert_eq!(resolve(yes), Value::Bool(true), "{yes}");
        }
        for no in ["no", "No", "NO", "off", "OFF", "false", "FALSE"] {
            assert_eq!(resolve(no), Value::Bool(false), "{no}");
        }
        for text in ["y", "N", "yEs", "onward"] {
            assert_eq!(resolve(text), Value::Text(text.into()), "{text}");
        }
    }

    #[test]
    fn numbers_are_whole_or_not() {
        assert_eq!(resolve("42"), Value::Int(42));
        assert_eq!(resolve("-1_000"), Value::Int(-1000));
        assert_eq!(resolve("0o17"), Value::Text("0o17".into()));
        assert_eq!(resolve("017"), Value::Int(15));
        assert_eq!(resolve("0x1F"), Value::Int(31));
        assert_eq!(resolve("2.1"), Value::Float(2.1));
        for text in ["1.2.3", "089x", "12:30", "1-2", ".", "e5", "-", "3600s"] {
            assert_eq!(resolve(text), Value::Text(text.into()), "{text}");
        }
    }
}
