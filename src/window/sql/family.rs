//! What is known of types before any data came.

use std::fmt;

use sqlparser::ast::Expr as Ast;

use super::query::Planner;
use crate::window::plan::{Expr, Type};

/// Values that compare with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Number,
    Boolean,
    Text,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Number => "a number",
            Self::Boolean => "true or false",
            Self::Text => "text",
        })
    }
}

impl From<Type> for Family {
    fn from(of: Type) -> Self {
        match of {
            Type::Integer | Type::Double => Self::Number,
            Type::Boolean => Self::Boolean,
            Type::Text => Self::Text,
        }
    }
}

/// An expression, and what it is sure to be unless it is NULL. A field may be anything.
#[derive(Clone, Debug)]
pub struct Typed {
    pub expr: Expr,
    pub family: Option<Family>,
}

impl Typed {
    pub fn number(expr: Expr) -> Self {
        Self { expr, family: Some(Family::Number) }
    }

    pub fn boolean(expr: Expr) -> Self {
        Self { expr, family: Some(Family::Boolean) }
    }

    pub fn text(expr: Expr) -> Self {
        Self { expr, family: Some(Family::Text) }
    }

    pub fn boxed(self) -> Box<Expr> {
        Box::new(self.expr)
    }
}

impl Planner<'_> {
    /// The expression, unless it is sure to be something else than what is needed here.
    pub fn needs(&mut self, typed: &Typed, family: Family, ast: &Ast) -> Option<Expr> {
        match typed.family {
            Some(other) if other != family => {
                let at = self.words.of(ast);
                let remedy = match family {
                    Family::Boolean => "write a comparison, as in x > 0",
                    Family::Number => "CAST(x AS DOUBLE) makes a number of text",
                    Family::Text => "CAST(x AS VARCHAR) makes text of a number",
                };
                self.fault(at, format!("this is {other}, where {family} is needed"), remedy);
                None
            }
            _ => Some(typed.expr.clone()),
        }
    }

    /// What two expressions that must be of one family are both sure to be. A fault if they never meet.
    pub fn meet(&mut self, left: Option<Family>, right: Option<Family>, ast: &Ast) -> Option<Family> {
        let (Some(left), Some(right)) = (left, right) else { return None };
        if left != right {
            let at = self.words.of(ast);
            let what = format!("{left} and {right} never meet");
            self.fault(at, what, "CAST one of them: CAST(x AS DOUBLE), CAST(x AS VARCHAR)");
        }
        Some(left)
    }
}
