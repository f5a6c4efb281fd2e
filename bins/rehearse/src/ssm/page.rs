//! Answers that come in pages.

use serde_json::{Value, json};

use super::failure::AwsError;

/// The page that starts at `token` (the number of items before it), and the next token if there is more.
///
/// # Errors
/// `InvalidNextToken`.
pub fn page(member: &str, items: Vec<Value>, size: usize, token: Option<&str>) -> Result<Value, AwsError> {
    let start = match token.filter(|token| !token.is_empty()) {
        None => 0,
        Some(token) => token
            .parse::<usize>()
            .ok()
            .filter(|start| *start <= items.len())
            .ok_or_else(|| AwsError::new("InvalidNextToken", "The specified token is not valid."))?,
    };
    let end = items.len().min(start.saturating_add(size.max(1)));
    let mut answer = json!({ member: &items[start..end] });
    if end < items.len() {
        answer["NextToken"] = json!(end.to_string());
    }
    Ok(answer)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn pages_cover_everything_once() {
        let items: Vec<Value> = (0..12).map(|n| json!(n)).collect();
        let (mut token, mut seen) = (None::<String>, Vec::new());
        loop {
            let answer = page("L", items.clone(), 5, token.as_deref()).unwrap();
            seen.extend(answer["L"].as_array().unwrap().clone());
            token = answer["NextToken"].as_str().map(str::to_owned);
            if token.is_none() {
                break;
            }
        }
        assert_eq!(seen, items);
        assert_eq!(page("L", items, 5, Some("13")).unwrap_err().code, "InvalidNextToken");
    }
}
