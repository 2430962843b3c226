//! The name of a column to which the query gives none.

use sqlparser::ast::{
    BinaryOperator, DuplicateTreatment, Expr as Ast, Function, FunctionArg, FunctionArgExpr, FunctionArguments,
    UnaryOperator,
};

use super::column::tag;

/// A column's or tag's own name, or else one made of the words of the expression: `avg_temp`, `a_over_b`.
pub fn name(ast: &Ast) -> String {
    match ast {
        Ast::Identifier(ident) => ident.value.clone(),
        Ast::CompoundIdentifier(parts) => parts.last().map_or_else(String::new, |last| last.value.clone()),
        Ast::Nested(inner) | Ast::Cast { expr: inner, .. } => name(inner),
        Ast::CompoundFieldAccess { .. } => tag(ast).unwrap_or("element").to_owned(),
        Ast::Value(value) => word(&value.to_string()),
        Ast::Function(function) => call(function),
        Ast::Floor { expr, .. } => format!("floor_{}", name(expr)),
        Ast::Ceil { expr, .. } => format!("ceil_{}", name(expr)),
        Ast::UnaryOp { op: UnaryOperator::Minus, expr } => format!("minus_{}", name(expr)),
        Ast::UnaryOp { op: UnaryOperator::Not, expr } => format!("not_{}", name(expr)),
        Ast::BinaryOp { left, op, right } => format!("{}_{}_{}", name(left), operator(op), name(right)),
        Ast::IsNull(inner) => format!("{}_is_null", name(inner)),
        Ast::IsNotNull(inner) => format!("{}_is_not_null", name(inner)),
        Ast::Case { .. } => "case".to_owned(),
        _ => "condition".to_owned(),
    }
}

fn call(function: &Function) -> String {
    let called = function.name.to_string().to_ascii_lowercase();
    for window in ["tumble_", "hop_", "session_"] {
        if let Some(bound @ ("start" | "end" | "rowtime")) = called.strip_prefix(window) {
            return format!("window_{}", if bound == "rowtime" { "time" } else { bound });
        }
    }
    let mut parts = vec![called];
    if let FunctionArguments::List(list) = &function.args {
        if list.duplicate_treatment == Some(DuplicateTreatment::Distinct) {
            parts.push("distinct".to_owned());
        }
        parts.extend(list.args.iter().filter_map(|argument| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(ast)) => Some(name(ast)),
            _ => None,
        }));
    }
    parts.join("_")
}

fn operator(op: &BinaryOperator) -> &'static str {
    match op {
        BinaryOperator::Plus => "plus",
        BinaryOperator::Minus => "minus",
        BinaryOperator::Multiply => "times",
        BinaryOperator::Divide => "over",
        BinaryOperator::Modulo => "mod",
        BinaryOperator::And => "and",
        BinaryOperator::Or => "or",
        BinaryOperator::Eq => "is",
        BinaryOperator::NotEq => "is_not",
        BinaryOperator::Lt | BinaryOperator::LtEq => "below",
        BinaryOperator::Gt | BinaryOperator::GtEq => "above",
        _ => "with",
    }
}

/// A literal with nothing in it but letters and digits: `0.95` is `0_95`.
fn word(text: &str) -> String {
    let text = text.trim_matches('\'');
    text.chars().map(|c| if c.is_alphanumeric() { c } else { '_' }).collect()
}
