//! What an expression comes to, given a pipeline.

use super::{Expression, Operator};
use crate::ci::fault::Fault;
use crate::ci::logic::{matches_all, truthy};
use crate::ci::parameters::shown;
use crate::ci::scope::Scope;
use crate::ci::source::At;
use crate::ci::yaml::{Node, Value};

impl Expression {
    /// The value; `and` and `or` come to one of their operands, see
    /// <https://circleci.com/docs/reference/configuration-reference/#conditional-logic-example>.
    pub(in crate::ci) fn value(&self, scope: &Scope<'_>, at: &At) -> Result<Value, Fault> {
        match self {
            Expression::Literal(value) => Ok(value.clone()),
            Expression::Pipeline(name) => scope.pipeline_value(name, at),
            Expression::Not(inner) => Ok(Value::Bool(!truthy(&inner.value(scope, at)?))),
            Expression::And(left, right) => match left.value(scope, at)? {
                value if truthy(&value) => right.value(scope, at),
                value => Ok(value),
            },
            Expression::Or(left, right) => match left.value(scope, at)? {
                value if truthy(&value) => Ok(value),
                _ => right.value(scope, at),
            },
            Expression::Matches(inner, pattern) => match inner.value(scope, at)? {
                Value::Text(text) => matches_all(pattern, &text, at).map(Value::Bool),
                // The documentation's own examples ask a branch's pipeline for its tag.
                Value::Null => Ok(Value::Bool(false)),
                other => Err(wrong_operand("matches", "strings", &other, at)),
            },
            Expression::Compare(operator, left, right) => {
                operator.compare(left.value(scope, at)?, right.value(scope, at)?, at).map(Value::Bool)
            }
        }
    }
}

impl Operator {
    fn compare(self, left: Value, right: Value, at: &At) -> Result<bool, Fault> {
        let numbers = |sign: &str| match (number(&left), number(&right)) {
            (Some(left), Some(right)) => Ok((left, right)),
            (None, _) => Err(wrong_operand(sign, "numbers", &left, at)),
            (_, None) => Err(wrong_operand(sign, "numbers", &right, at)),
        };
        match self {
            Operator::Equal => Ok(equal(&left, &right)),
            Operator::Unequal => Ok(!equal(&left, &right)),
            Operator::StartsWith => match (&left, &right) {
                (Value::Text(text), Value::Text(beginning)) => Ok(text.starts_with(beginning.as_str())),
                (Value::Null, Value::Text(_)) => Ok(false),
                (Value::Text(_) | Value::Null, other) | (other, _) => {
                    Err(wrong_operand("starts-with", "strings", other, at))
                }
            },
            Operator::AtLeast => numbers(">=").map(|(left, right)| left >= right),
            Operator::Above => numbers(">").map(|(left, right)| left > right),
            Operator::AtMost => numbers("<=").map(|(left, right)| left <= right),
            Operator::Below => numbers("<").map(|(left, right)| left < right),
        }
    }
}

/// "It is an error to use a non-string type as an operand."
fn wrong_operand(operator: &str, kind: &str, found: &Value, at: &At) -> Fault {
    let found = shown(&Node::new(found.clone(), at));
    Fault::new(at, format!("Operands of '{operator}' must be {kind}, found: {found}"))
}

/// "If the operands are of different types then `==` will evaluate `false`"; whole numbers and others are of one type.
pub(in crate::ci) fn equal(left: &Value, right: &Value) -> bool {
    match (number(left), number(right)) {
        (Some(left), Some(right)) => left == right,
        _ => left == right,
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        // Configs don't hold numbers beyond a float's exact range.
        Value::Int(number) => Some(*number as f64),
        Value::Float(number) => Some(*number),
        _ => None,
    }
}

/// The truth of an expression that stands in `filters:` or `when:`.
pub(in crate::ci) fn holds(text: &str, scope: &Scope<'_>, at: &At) -> Result<bool, Fault> {
    match super::parse(text) {
        Ok(expression) => expression.value(scope, at).map(|value| truthy(&value)),
        Err(why) => Err(Fault::new(at, format!("`{}` is not an expression: {why}", text.trim()))),
    }
}

/// Equality as `equal:` means it.
pub(in crate::ci) fn all_equal(nodes: &[Node]) -> bool {
    nodes.windows(2).all(|pair| equal(&pair[0].value, &pair[1].value))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::ci::orbs::Library;
    use crate::ci::parameters::Parameters;
    use crate::ci::pipeline::{Known, Pipeline};
    use crate::ci::source::Source;
    use crate::ci::yaml::Map;

    fn judged(text: &str) -> Result<Value, String> {
        let at = Source::new("config.yml", "").start();
        let values = BTreeMap::from([("git.branch".to_owned(), json!("main")), ("number".to_owned(), json!(7))]);
        let pipeline = Pipeline { values, ..Pipeline::default() };
        let known = Known::new(&pipeline, &Parameters::default(), &Map::default(), &at).unwrap();
        let library = Library::default();
        let scope = Scope::outer(&library, &known);
        crate::ci::expression::parse(text)?.value(&scope, &at).map_err(|fault| fault.message)
    }

    #[test]
    fn operators_mean_what_the_table_says() {
        for (text, expected) in [
            (r#"pipeline.git.branch == "main""#, true),
            (r#"pipeline.git.branch != "main""#, false),
            (r#"pipeline.git.branch starts-with "ma""#, true),
            (r#"pipeline.git.tag starts-with "v""#, false),
            ("pipeline.git.branch matches /m.*/", true),
            ("pipeline.git.branch matches /m/", false),
            ("pipeline.number >= 7 and pipeline.number < 8", true),
            (r#"pipeline.number == "7""#, false),
            ("not false and false", false),
            ("not (false and false)", true),
            (r#"false or pipeline.git.branch == "main" and true"#, true),
            ("not pipeline.git.tag", true),
        ] {
            assert_eq!(judged(text), Ok(Value::Bool(expected)), "{text}");
        }
    }

    #[test]
    fn and_with_or_chooses_a_value() {
        assert_eq!(judged(r#"pipeline.git.branch == "main" and 10 or 1"#), Ok(Value::Int(10)));
        assert_eq!(judged(r#"pipeline.git.branch == "dev" and 10 or 1"#), Ok(Value::Int(1)));
        assert_eq!(judged(r#"pipeline.git.tag or "none""#), Ok(Value::Text("none".into())));
    }

    #[test]
    fn operands_of_the_wrong_type_are_refused() {
        assert!(judged("pipeline.git.branch > 1").unwrap_err().contains("must be numbers"));
        assert!(judged(r#"pipeline.number starts-with "7""#).unwrap_err().contains("must be strings"));
        assert!(judged("pipeline.git.brunch").unwrap_err().contains("pipeline.git.brunch"));
    }
}
