//! From words to an expression.

use std::iter::Peekable;
use std::vec::IntoIter;

use super::words::{Word, words};
use super::{Expression, Operator};
use crate::ci::yaml::Value;

/// Nobody nests deeper by hand.
const DEEPEST: usize = 100;

/// The expression, or what is wrong with it.
pub(in crate::ci) fn parse(text: &str) -> Result<Expression, String> {
    let mut reader = Reader { words: words(text)?.into_iter().peekable(), depth: 0 };
    let expression = reader.either()?;
    match reader.words.next() {
        None => Ok(expression),
        Some(word) => Err(format!("{} stands where nothing more can", shown(&word))),
    }
}

struct Reader {
    words: Peekable<IntoIter<Word>>,
    depth: usize,
}

impl Reader {
    fn either(&mut self) -> Result<Expression, String> {
        let mut left = self.both()?;
        while self.takes("or") {
            left = Expression::Or(Box::new(left), Box::new(self.both()?));
        }
        Ok(left)
    }

    fn both(&mut self) -> Result<Expression, String> {
        let mut left = self.comparison()?;
        while self.takes("and") {
            left = Expression::And(Box::new(left), Box::new(self.comparison()?));
        }
        Ok(left)
    }

    fn comparison(&mut self) -> Result<Expression, String> {
        let left = self.negation()?;
        let operator = match self.words.peek() {
            Some(Word::Name(name)) if name == "matches" => {
                self.words.next();
                return match self.words.next() {
                    Some(Word::Pattern(pattern)) => Ok(Expression::Matches(Box::new(left), pattern)),
                    _ => Err("behind `matches` stands a pattern between slashes".to_owned()),
                };
            }
            Some(Word::Name(name)) if name == "starts-with" => Operator::StartsWith,
            Some(Word::Sign(sign)) => match *sign {
                "==" => Operator::Equal,
                "!=" => Operator::Unequal,
                ">=" => Operator::AtLeast,
                ">" => Operator::Above,
                "<=" => Operator::AtMost,
                _ => Operator::Below,
            },
            _ => return Ok(left),
        };
        self.words.next();
        Ok(Expression::Compare(operator, Box::new(left), Box::new(self.negation()?)))
    }

    /// "`not` has very high precedence and so binds very tightly."
    fn negation(&mut self) -> Result<Expression, String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(format!("it is nested deeper than {DEEPEST} levels"));
        }
        let expression = if self.takes("not") { Expression::Not(Box::new(self.negation()?)) } else { self.operand()? };
        self.depth -= 1;
        Ok(expression)
    }

    fn operand(&mut self) -> Result<Expression, String> {
        match self.words.next() {
            Some(Word::Literal(value)) => Ok(Expression::Literal(value)),
            Some(Word::Name(name)) => match name.strip_prefix("pipeline.") {
                Some(value) => Ok(Expression::Pipeline(value.to_owned())),
                None => Err(format!("`{name}` is neither a pipeline value nor a literal")),
            },
            Some(Word::Open) => {
                let inner = self.either()?;
                match self.words.next() {
                    Some(Word::Close) => Ok(inner),
                    _ => Err("a parenthesis is not closed".to_owned()),
                }
            }
            Some(word) => Err(format!("{} stands where a value should", shown(&word))),
            None => Err("it ends where a value should stand".to_owned()),
        }
    }

    fn takes(&mut self, name: &str) -> bool {
        self.words.next_if(|word| matches!(word, Word::Name(found) if found == name)).is_some()
    }
}

fn shown(word: &Word) -> String {
    match word {
        Word::Open => "`(`".to_owned(),
        Word::Close => "`)`".to_owned(),
        Word::Sign(sign) => format!("`{sign}`"),
        Word::Name(name) => format!("`{name}`"),
        Word::Pattern(pattern) => format!("`/{pattern}/`"),
        Word::Literal(Value::Text(text)) => format!("\"{text}\""),
        Word::Literal(_) => "a literal".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_no_expression_says_why() {
        for (text, why) in [
            ("", "it ends where a value should stand"),
            ("pipeline.git.branch ==", "it ends where a value should stand"),
            ("(pipeline.number", "a parenthesis is not closed"),
            ("main", "`main` is neither a pipeline value nor a literal"),
            ("pipeline.git.branch = \"x\"", "`=` can't stand in an expression"),
            ("pipeline.git.branch matches \"x\"", "behind `matches` stands a pattern between slashes"),
            ("\"open", "a \" is not closed"),
            ("true false", "a literal stands where nothing more can"),
        ] {
            assert_eq!(parse(text).unwrap_err(), why, "{text}");
        }
        assert!(parse(&"(".repeat(5000)).unwrap_err().contains("nested deeper"));
    }
}
