//! What a query becomes. What is refused, and with which sentence: `tests/refusals.rs`.

mod refusals;

use super::*;
use crate::reading::Value;
use crate::window::plan::{Aggregate, Arithmetic, Comparison, Expr, Function, Kind, Ref, Shape, Table};

mod hostile;
mod plans;

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;

fn planned(sql: &str) -> Plan {
    plan(sql, &Names::default()).unwrap_or_else(|faults| panic!("{sql}\n{faults:#?}"))
}

fn faults(sql: &str) -> Vec<String> {
    match plan(sql, &Names::default()) {
        Ok(plan) => panic!("{sql}\nis fine: {plan:?}"),
        Err(faults) => faults.iter().map(ToString::to_string).collect(),
    }
}

/// What the first column of `SELECT … FROM readings GROUP BY device, a, TUMBLE(…)` becomes.
fn column(expression: &str) -> (String, String) {
    let plan = planned(&format!("SELECT {expression} FROM readings GROUP BY device, a, {TUMBLE}"));
    let (name, expr) = &plan.select[0];
    (name.to_string(), show(expr, &plan))
}

/// What a condition of WHERE becomes.
fn filter(condition: &str) -> String {
    let plan = planned(&format!("SELECT device FROM readings WHERE {condition} GROUP BY device, {TUMBLE}"));
    show(plan.filter.as_ref().unwrap(), &plan)
}

const TUMBLE: &str = "TUMBLE(time, INTERVAL '1' MINUTE)";

/// An expression in full parentheses, references spelt out.
fn show(expr: &Expr, plan: &Plan) -> String {
    let show = |expr: &Expr| show(expr, plan);
    let list = |exprs: &[Expr]| exprs.iter().map(show).collect::<Vec<_>>().join(" ");
    match expr {
        Expr::Literal(None) => "null".to_owned(),
        Expr::Literal(Some(Value::Text(text))) => format!("'{text}'"),
        Expr::Literal(Some(Value::F64(n))) => format!("{n:?}"),
        Expr::Literal(Some(Value::I64(n))) => n.to_string(),
        Expr::Literal(Some(Value::U64(n))) => format!("{n}u"),
        Expr::Literal(Some(Value::Bool(is))) => is.to_string(),
        Expr::Ref(Ref::Key(key)) => format!("key{key}[{}]", show(&plan.keys[*key])),
        Expr::Ref(Ref::Aggregate(at)) => {
            let Aggregate { kind, argument } = &plan.aggregates[*at];
            format!("{kind:?}[{}]", argument.as_ref().map_or("*".to_owned(), show))
        }
        Expr::Ref(Ref::Field(name)) => name.to_string(),
        Expr::Ref(Ref::Tag(name)) => format!("tag:{name}"),
        Expr::Ref(other) => format!("{other:?}").to_lowercase(),
        Expr::Not(inner) => format!("(not {})", show(inner)),
        Expr::Negate(inner) => format!("(- {})", show(inner)),
        Expr::And(left, right) => format!("({} and {})", show(left), show(right)),
        Expr::Or(left, right) => format!("({} or {})", show(left), show(right)),
        Expr::Compare(how, left, right) => {
            let sign = match how {
                Comparison::Equal => "=",
                Comparison::NotEqual => "<>",
                Comparison::Less => "<",
                Comparison::LessOrEqual => "<=",
                Comparison::Greater => ">",
                Comparison::GreaterOrEqual => ">=",
            };
            format!("({} {sign} {})", show(left), show(right))
        }
        Expr::Arithmetic(how, left, right) => {
            let sign = match how {
                Arithmetic::Add => "+",
                Arithmetic::Subtract => "-",
                Arithmetic::Multiply => "*",
                Arithmetic::Divide => "/",
                Arithmetic::Modulo => "%",
            };
            format!("({} {sign} {})", show(left), show(right))
        }
        Expr::IsNull(inner) => format!("({} is null)", show(inner)),
        Expr::In(needle, items) => format!("({} in {})", show(needle), list(items)),
        Expr::Like(text, pattern) => format!("({} like {})", show(text), show(pattern)),
        Expr::Case(branches, otherwise) => {
            let branches: String =
                branches.iter().map(|(when, then)| format!("{} -> {}, ", show(when), show(then))).collect();
            format!("({branches}else {})", show(otherwise))
        }
        Expr::Call(function, arguments) => format!("{}({})", format!("{function:?}").to_lowercase(), list(arguments)),
        Expr::Cast(inner, to) => format!("({} as {to:?})", show(inner)),
    }
}
