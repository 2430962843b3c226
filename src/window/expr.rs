//! What an expression is worth in a scope: SQL's three-valued logic over values whose types only the data knows.
//!
//! Fields have no declared type, so nothing here fails. Whatever has no meaning is NULL, and NULL spreads: a field that
//! is not there, text where a number is needed, a comparison of text with a number, a division by zero, a result that
//! is not finite. Where a query can be known to be wrong before any data came, [`super::sql`] has refused it.
//!
//! `AND` and `OR` know what NULL cannot change: `FALSE AND NULL` is false, `TRUE OR NULL` is true.

use std::cmp::Ordering;
use std::sync::Arc;

use super::like::like;
use super::number::{self, Number};
use super::plan::{Comparison, Datum, Expr, Function, Scope, Type};
use crate::reading::Value;

impl Expr {
    /// The value of this expression in a scope, or NULL.
    pub fn eval<S: Scope + ?Sized>(&self, scope: &S) -> Datum {
        match self {
            Self::Literal(datum) => datum.clone(),
            Self::Ref(name) => scope.get(name),
            Self::Not(inner) => truth(inner.eval(scope).as_ref()).map(|is| Value::Bool(!is)),
            Self::Negate(inner) => number::negate(Number::of(inner.eval(scope).as_ref()?)?),
            Self::And(left, right) => either(left, right, false, scope),
            Self::Or(left, right) => either(left, right, true, scope),
            Self::Compare(how, left, right) => {
                let order = order(&left.eval(scope)?, &right.eval(scope)?)?;
                Some(Value::Bool(holds(*how, order)))
            }
            Self::Arithmetic(how, left, right) => {
                let (left, right) = (left.eval(scope)?, right.eval(scope)?);
                number::arithmetic(*how, Number::of(&left)?, Number::of(&right)?)
            }
            Self::IsNull(inner) => Some(Value::Bool(inner.eval(scope).is_none())),
            Self::In(needle, list) => contains(&needle.eval(scope)?, list, scope),
            Self::Like(text, pattern) => match (text.eval(scope)?, pattern.eval(scope)?) {
                (Value::Text(text), Value::Text(pattern)) => Some(Value::Bool(like(&text, &pattern))),
                _ => None,
            },
            Self::Case(branches, otherwise) => {
                let taken = branches.iter().find(|(condition, _)| condition.is_true(scope));
                taken.map_or(&**otherwise, |(_, result)| result).eval(scope)
            }
            Self::Call(function, arguments) => call(*function, arguments, scope),
            Self::Cast(inner, to) => cast(inner.eval(scope)?, *to),
        }
    }

    /// Whether WHERE, HAVING and CASE take this for a yes: true, neither false nor NULL.
    pub fn is_true<S: Scope + ?Sized>(&self, scope: &S) -> bool {
        matches!(self.eval(scope), Some(Value::Bool(true)))
    }
}

/// How two values stand to each other: numbers by value whatever their kinds, text by bytes, false before true.
/// `None` between text, numbers and booleans.
#[must_use]
pub fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Text(left), Value::Text(right)) => Some(left.as_bytes().cmp(right.as_bytes())),
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        _ => Some(Number::of(left)?.order(Number::of(right)?)),
    }
}

fn holds(how: Comparison, order: Ordering) -> bool {
    match how {
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
    }
}

fn truth(datum: Option<&Value>) -> Option<bool> {
    match datum {
        Some(Value::Bool(is)) => Some(*is),
        _ => None,
    }
}

/// AND where `decided` is false, OR where it is true: one side with that value decides, whatever the other is.
fn either<S: Scope + ?Sized>(left: &Expr, right: &Expr, decided: bool, scope: &S) -> Datum {
    let left = truth(left.eval(scope).as_ref());
    if left == Some(decided) {
        return Some(Value::Bool(decided));
    }
    let right = truth(right.eval(scope).as_ref());
    if right == Some(decided) {
        return Some(Value::Bool(decided));
    }
    left.and(right).map(|_| Value::Bool(!decided))
}

/// True where one is equal, else NULL where one might have been, else false.
fn contains<S: Scope + ?Sized>(needle: &Value, list: &[Expr], scope: &S) -> Datum {
    let mut sure = true;
    for item in list {
        match item.eval(scope).and_then(|item| order(needle, &item)) {
            Some(Ordering::Equal) => return Some(Value::Bool(true)),
            Some(_) => {}
            None => sure = false,
        }
    }
    sure.then_some(Value::Bool(false))
}

fn call<S: Scope + ?Sized>(function: Function, arguments: &[Expr], scope: &S) -> Datum {
    if function == Function::Coalesce {
        return arguments.iter().find_map(|argument| argument.eval(scope));
    }
    let (first, more) = arguments.split_first()?;
    let value = Number::of(&first.eval(scope)?)?;
    match function {
        Function::Abs => number::abs(value),
        Function::Floor => number::floor(value),
        Function::Ceil => number::ceil(value),
        Function::Round => match more.first() {
            None => number::round(value, 0),
            Some(decimals) => match Number::of(&decimals.eval(scope)?)? {
                Number::Int(decimals) => number::round(value, decimals.clamp(-400, 400) as i32),
                Number::Float(_) => None,
            },
        },
        Function::Coalesce => unreachable!("answered above"),
    }
}

/// A value as another type; NULL where it has no such form.
fn cast(value: Value, to: Type) -> Datum {
    match (to, value) {
        (Type::Integer, Value::Text(text)) => number::integer(Number::read(&text)?),
        (Type::Integer, Value::Bool(is)) => Some(Value::I64(i64::from(is))),
        (Type::Integer, value) => number::integer(Number::of(&value)?),
        (Type::Double, Value::Text(text)) => Some(Value::F64(Number::read(&text)?.float())),
        (Type::Double, Value::Bool(is)) => Some(Value::F64(f64::from(u8::from(is)))),
        (Type::Double, value) => Some(Value::F64(Number::of(&value)?.float())),
        (Type::Boolean, Value::Bool(is)) => Some(Value::Bool(is)),
        (Type::Boolean, Value::Text(text)) => boolean(&text),
        (Type::Boolean, value) => Some(Value::Bool(Number::of(&value)?.order(Number::Int(0)).is_ne())),
        (Type::Text, Value::Text(text)) => Some(Value::Text(text)),
        (Type::Text, value) => Some(Value::Text(written(&value))),
    }
}

fn boolean(text: &str) -> Datum {
    let text = text.trim();
    let is = |word: &str| text.eq_ignore_ascii_case(word);
    if is("true") { Some(Value::Bool(true)) } else { is("false").then_some(Value::Bool(false)) }
}

/// As a person would write it, but TRUE and FALSE, which the standard writes so. A float keeps its point, so that it is
/// told from an integer.
fn written(value: &Value) -> Arc<str> {
    match value {
        Value::F64(n) => format!("{n:?}").into(),
        Value::I64(n) => n.to_string().into(),
        Value::U64(n) => n.to_string().into(),
        Value::Bool(true) => "TRUE".into(),
        Value::Bool(false) => "FALSE".into(),
        Value::Text(text) => text.clone(),
    }
}

#[cfg(test)]
mod tests;
