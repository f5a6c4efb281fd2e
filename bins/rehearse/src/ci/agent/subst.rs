//! `circleci env subst`: variables in a text, once, and nothing else of a shell.

use gyron_core::failure::{Failure, Result};

/// Puts the values of variables for `$NAME` and `${NAME}`; one that is not set is empty. What a value holds is left as it is:
/// nothing is expanded twice.
///
/// # Errors
/// Usage (2) for `${NAME:-…}` and other forms of a shell's, which CircleCI does not document.
pub fn fill_in(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<String> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        filled.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(braced) = after.strip_prefix('{') {
            let Some(end) = braced.find('}') else {
                return Err(Failure::usage("a ${ is not closed"));
            };
            let name = &braced[..end];
            if name.is_empty() || name_length(name) != name.len() {
                return Err(Failure::usage(format!("not run here: ${{{name}}}, only ${{NAME}} is")));
            }
            filled.push_str(&variable(name).unwrap_or_default());
            rest = &braced[end + 1..];
        } else {
            let length = name_length(after);
            if length == 0 {
                filled.push('$');
            } else {
                filled.push_str(&variable(&after[..length]).unwrap_or_default());
            }
            rest = &after[length..];
        }
    }
    filled.push_str(rest);
    Ok(filled)
}

/// How many characters at the beginning can be a variable's name.
fn name_length(text: &str) -> usize {
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let length = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
    if begins { length } else { 0 }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may")]
mod tests {
    use super::fill_in;

    #[test]
    fn variables_are_filled_in_once() {
        let variable = |name: &str| match name {
            "A" => Some("1".to_owned()),
            "B" => Some("$A".to_owned()),
            _ => None,
        };
        let filled = |text: &str| fill_in(text, variable).unwrap();
        assert_eq!(filled("$A ${A}x $Ax|$B"), "1 1x |$A");
        assert_eq!(filled("costs $5 and $ and $(id)"), "costs $5 and $ and $(id)");
        assert!(fill_in("${A:-2}", variable).is_err());
        assert!(fill_in("${A", variable).is_err());
    }
}
