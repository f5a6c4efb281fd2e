//! Expressions: `pipeline.git.branch == "main" and not (pipeline.number > 7)`, see
//! <https://circleci.com/docs/reference/configuration-reference/#using-expressions-in-your-configuration>.

mod judge;
mod parse;
mod words;

pub(super) use judge::{all_equal, holds};
pub(super) use parse::parse;

/// One expression, taken apart.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expression {
    Literal(super::yaml::Value),
    /// A dotted name, with `pipeline.` taken off.
    Pipeline(String),
    Not(Box<Expression>),
    And(Box<Expression>, Box<Expression>),
    Or(Box<Expression>, Box<Expression>),
    Compare(Operator, Box<Expression>, Box<Expression>),
    /// A text against a pattern.
    Matches(Box<Expression>, String),
}

/// What stands between two operands, `and`, `or` and `matches` apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Operator {
    Equal,
    Unequal,
    StartsWith,
    AtLeast,
    Above,
    AtMost,
    Below,
}
