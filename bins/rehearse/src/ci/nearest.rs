//! What a misspelt name was probably meant to be.

/// The nearest of the known names, if one is near enough to be meant.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|known| (strsim::damerau_levenshtein(name, known), known))
        .filter(|(distance, known)| *distance <= (known.len() / 3).max(1) && *distance < known.len())
        .min()
        .map(|(_, known)| known)
}

/// The hint that goes with it.
pub(super) fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(name, known).map(|near| format!("did you mean `{near}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transposition_is_near_and_another_word_is_not() {
        assert_eq!(nearest("comamnd", ["command", "name"]), Some("command"));
        assert_eq!(nearest("colour", ["command", "name"]), None);
        assert_eq!(nearest("z", ["y"]), None);
    }
}
