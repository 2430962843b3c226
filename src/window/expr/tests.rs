use std::collections::BTreeMap;

use super::super::plan::{Arithmetic, Ref};
use super::*;

/// Fields by name.
struct Fields(BTreeMap<&'static str, Value>);

impl Scope for Fields {
    fn get(&self, name: &Ref) -> Datum {
        let Ref::Field(name) = name else { return None };
        self.0.get(&**name).cloned()
    }
}

fn scope() -> Fields {
    Fields(BTreeMap::from([("n", Value::I64(5)), ("t", Value::Text("five".into())), ("b", Value::Bool(true))]))
}

fn field(name: &str) -> Expr {
    Expr::Ref(Ref::Field(name.into()))
}

fn lit(value: impl Into<Literal>) -> Expr {
    Expr::Literal(value.into().0)
}

struct Literal(Datum);

impl From<i64> for Literal {
    fn from(n: i64) -> Self {
        Self(Some(Value::I64(n)))
    }
}

impl From<f64> for Literal {
    fn from(n: f64) -> Self {
        Self(Some(Value::F64(n)))
    }
}

impl From<&str> for Literal {
    fn from(text: &str) -> Self {
        Self(Some(Value::Text(text.into())))
    }
}

impl From<Option<bool>> for Literal {
    fn from(is: Option<bool>) -> Self {
        Self(is.map(Value::Bool))
    }
}

const NULL: Option<bool> = None;
const TRUE: Option<bool> = Some(true);
const FALSE: Option<bool> = Some(false);

fn value(expr: &Expr) -> Datum {
    expr.eval(&scope())
}

/// What a logical expression is, and that it is no other kind of value.
fn logic(expr: &Expr) -> Option<bool> {
    match value(expr) {
        None => None,
        Some(Value::Bool(is)) => Some(is),
        Some(other) => panic!("{other:?} is not logical"),
    }
}

#[expect(clippy::unnecessary_box_returns, reason = "short, as it stands in every line")]
fn b(expr: Expr) -> Box<Expr> {
    Box::new(expr)
}

#[test]
fn and_or_and_not_have_three_values() {
    let table = [
        // left, right, AND, OR
        (TRUE, TRUE, TRUE, TRUE),
        (TRUE, FALSE, FALSE, TRUE),
        (TRUE, NULL, NULL, TRUE),
        (FALSE, TRUE, FALSE, TRUE),
        (FALSE, FALSE, FALSE, FALSE),
        (FALSE, NULL, FALSE, NULL),
        (NULL, TRUE, NULL, TRUE),
        (NULL, FALSE, FALSE, NULL),
        (NULL, NULL, NULL, NULL),
    ];
    for (left, right, and, or) in table {
        assert_eq!(logic(&Expr::And(b(lit(left)), b(lit(right)))), and, "{left:?} AND {right:?}");
        assert_eq!(logic(&Expr::Or(b(lit(left)), b(lit(right)))), or, "{left:?} OR {right:?}");
    }
    for (of, not) in [(TRUE, FALSE), (FALSE, TRUE), (NULL, NULL)] {
        assert_eq!(logic(&Expr::Not(b(lit(of)))), not, "NOT {of:?}");
    }
    // What is not logical is unknown.
    assert_eq!(logic(&Expr::And(b(lit(1)), b(lit(TRUE)))), NULL);
    assert_eq!(logic(&Expr::Or(b(lit("x")), b(lit(TRUE)))), TRUE);
}

#[test]
fn null_spreads_and_is_null_is_never_null() {
    let none = || b(field("nowhere"));
    for expr in [
        Expr::Compare(Comparison::Equal, none(), none()),
        Expr::Compare(Comparison::NotEqual, none(), b(lit(1))),
        Expr::Arithmetic(Arithmetic::Add, b(lit(1)), none()),
        Expr::Negate(none()),
        Expr::Like(none(), b(lit("%"))),
        Expr::In(none(), vec![lit(1)]),
        Expr::Cast(none(), Type::Text),
        Expr::Call(Function::Abs, vec![*none()]),
        Expr::Call(Function::Round, vec![lit(1.5), *none()]),
        Expr::Call(Function::Coalesce, vec![*none(), *none()]),
    ] {
        assert_eq!(value(&expr), None, "{expr:?}");
        assert_eq!(logic(&Expr::IsNull(b(expr))), TRUE);
    }
    assert_eq!(logic(&Expr::IsNull(b(field("n")))), FALSE);
    assert!(!Expr::Compare(Comparison::Equal, none(), none()).is_true(&scope()));
}

#[test]
fn types_that_do_not_meet_are_unknown() {
    for (left, right, expected) in [
        ("n", lit(5.0), TRUE),
        ("n", lit("5"), NULL),
        ("t", lit(5), NULL),
        ("t", lit("five"), TRUE),
        ("b", lit(1), NULL),
        ("b", lit(TRUE), TRUE),
    ] {
        let compare = Expr::Compare(Comparison::Equal, b(field(left)), b(right));
        assert_eq!(logic(&compare), expected, "{compare:?}");
    }
    assert_eq!(value(&Expr::Arithmetic(Arithmetic::Add, b(field("t")), b(lit(1)))), None);
    assert_eq!(value(&Expr::Negate(b(field("b")))), None);
    assert_eq!(value(&Expr::Like(b(field("n")), b(lit("%")))), None);
    assert_eq!(value(&Expr::Call(Function::Round, vec![lit(1.25), lit(1.0)])), None);
}

#[test]
fn text_compares_by_bytes_and_false_comes_before_true() {
    for (left, right) in [(lit("B"), lit("a")), (lit("a"), lit("aa")), (lit("z"), lit("é")), (lit(FALSE), lit(TRUE))] {
        let less = |left: &Expr, right: &Expr| Expr::Compare(Comparison::Less, b(left.clone()), b(right.clone()));
        assert_eq!(logic(&less(&left, &right)), TRUE, "{left:?} < {right:?}");
        assert_eq!(logic(&less(&right, &left)), FALSE, "{right:?} < {left:?}");
        assert_eq!(logic(&Expr::Compare(Comparison::LessOrEqual, b(left.clone()), b(left))), TRUE);
    }
}

#[test]
fn in_is_unknown_where_a_null_might_have_been_it() {
    for (list, expected) in [
        (vec![lit(4), lit(5)], TRUE),
        (vec![lit(NULL), lit(5.0)], TRUE),
        (vec![lit(4), lit(6)], FALSE),
        (vec![lit(4), lit(NULL)], NULL),
        (vec![lit(4), lit("5")], NULL),
    ] {
        assert_eq!(logic(&Expr::In(b(field("n")), list.clone())), expected, "5 IN {list:?}");
    }
}

#[test]
fn case_takes_the_first_true_branch_and_never_looks_further() {
    let case = |conditions: &[Option<bool>]| {
        let branches = conditions.iter().enumerate().map(|(at, is)| (lit(*is), lit(at as i64))).collect();
        value(&Expr::Case(branches, b(lit("else"))))
    };
    assert_eq!(case(&[FALSE, NULL, TRUE, TRUE]), Some(Value::I64(2)));
    assert_eq!(case(&[FALSE, NULL]), Some(Value::Text("else".into())));
    let coalesce = Expr::Call(Function::Coalesce, vec![field("nowhere"), field("t"), field("n")]);
    assert_eq!(value(&coalesce), Some(Value::Text("five".into())));
}

#[test]
fn casts_give_null_where_there_is_no_such_form() {
    let text = |text: &str| Some(Value::Text(text.into()));
    for (from, to, expected) in [
        (lit("12"), Type::Integer, Some(Value::I64(12))),
        (lit("12.9"), Type::Integer, Some(Value::I64(12))),
        (lit("12 V"), Type::Integer, None),
        (lit(-12.9), Type::Integer, Some(Value::I64(-12))),
        (lit(TRUE), Type::Integer, Some(Value::I64(1))),
        (lit("1e3"), Type::Double, Some(Value::F64(1000.0))),
        (lit("nan"), Type::Double, None),
        (lit(2), Type::Double, Some(Value::F64(2.0))),
        (lit(" True"), Type::Boolean, Some(Value::Bool(true))),
        (lit("yes"), Type::Boolean, None),
        (lit(0.0), Type::Boolean, Some(Value::Bool(false))),
        (lit(-2), Type::Boolean, Some(Value::Bool(true))),
        (lit(2), Type::Text, text("2")),
        (lit(2.0), Type::Text, text("2.0")),
        (lit(FALSE), Type::Text, text("FALSE")),
        (lit(TRUE), Type::Text, text("TRUE")),
        (lit("x"), Type::Text, text("x")),
    ] {
        assert_eq!(value(&Expr::Cast(b(from.clone()), to)), expected, "CAST({from:?} AS {to:?})");
    }
}
