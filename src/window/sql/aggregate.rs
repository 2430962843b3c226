//! Calls: the aggregates, and the functions of one row.

use sqlparser::ast::{Expr as Ast, Function as AstFunction};

use super::call::Call;
use super::family::{Family, Typed};
use super::query::{Clause, Planner};
use super::window::is_window_function;
use crate::reading::Value;
use crate::window::number::Number;
use crate::window::plan::{Aggregate, Arithmetic, Expr, Function, Kind, Ref};

/// Each with what it is of; STDDEV and VARIANCE as Flink has them.
const AGGREGATES: [(&str, Kind); 15] = [
    ("SUM", Kind::Sum),
    ("AVG", Kind::Avg),
    ("MIN", Kind::Min),
    ("MAX", Kind::Max),
    ("STDDEV_POP", Kind::StddevPop),
    ("STDDEV_SAMP", Kind::StddevSamp),
    ("STDDEV", Kind::StddevSamp),
    ("VAR_POP", Kind::VarPop),
    ("VAR_SAMP", Kind::VarSamp),
    ("VARIANCE", Kind::VarSamp),
    ("FIRST_VALUE", Kind::FirstValue),
    ("LAST_VALUE", Kind::LastValue),
    ("RATE", Kind::Rate),
    ("TIME_AVG", Kind::TimeAvg),
    ("COUNT", Kind::Count),
];

/// The functions there are, as a sentence.
pub fn known() -> String {
    let aggregates: Vec<_> = AGGREGATES.iter().map(|(name, _)| *name).collect();
    format!("the functions are ABS, ROUND, FLOOR, CEIL, COALESCE, MOD, {} and PERCENTILE", aggregates.join(", "))
}

impl Planner<'_> {
    pub fn function(&mut self, function: &AstFunction, ast: &Ast, clause: Clause) -> Option<Typed> {
        let call = self.call(function)?;
        if is_window_function(&call.name) {
            return self.window_function(&call, clause);
        }
        if call.name == "PERCENTILE" {
            return self.percentile(&call, clause);
        }
        if let Some((_, kind)) = AGGREGATES.iter().find(|(name, _)| *name == call.name) {
            return self.aggregate(&call, *kind, clause);
        }
        self.scalar(&call, ast, clause)
    }

    fn aggregate(&mut self, call: &Call<'_>, kind: Kind, clause: Clause) -> Option<Typed> {
        let (kind, argument) = match (kind, call.arguments.as_deref(), call.distinct) {
            (Kind::Count, None, false) => (kind, None),
            (Kind::Count, Some([argument]), true) => (Kind::CountDistinct, Some(*argument)),
            (Kind::Count, _, true) => {
                self.fault(call.at, "COUNT(DISTINCT …) counts one expression", "write COUNT(DISTINCT x)");
                return None;
            }
            _ => (kind, Some(self.arguments(call, 1..=1, &format!("{}(x)", call.name))?[0])),
        };
        if !self.may_aggregate(call, clause) {
            return None;
        }
        let Some(ast) = argument else { return Some(self.add(kind, None, Some(Family::Number))) };
        let typed = self.expr(ast, Clause::Argument)?;
        let (argument, family) = match kind {
            Kind::Count | Kind::CountDistinct => (typed.expr, Some(Family::Number)),
            Kind::Min | Kind::Max | Kind::FirstValue | Kind::LastValue => (typed.expr, typed.family),
            _ => (self.needs(&typed, Family::Number, ast)?, Some(Family::Number)),
        };
        Some(self.add(kind, Some(argument), family))
    }

    fn percentile(&mut self, call: &Call<'_>, clause: Clause) -> Option<Typed> {
        let &[of, quantile] = self.arguments(call, 2..=2, "PERCENTILE(x, 0.95)")? else { return None };
        if !self.may_aggregate(call, clause) {
            return None;
        }
        let typed = self.expr(of, Clause::Argument);
        let argument = typed.and_then(|typed| self.needs(&typed, Family::Number, of));
        let at = self.words.of(quantile);
        let value = match self.expr(quantile, Clause::Argument)?.expr {
            Expr::Literal(Some(value)) => Number::of(&value).map(Number::float),
            _ => None,
        };
        let Some(quantile) = value.filter(|quantile| (0.0..=1.0).contains(quantile)) else {
            self.fault(at, "the quantile of PERCENTILE is a number from 0 to 1", "write PERCENTILE(x, 0.95)");
            return None;
        };
        Some(self.add(Kind::Percentile(quantile), Some(argument?), Some(Family::Number)))
    }

    fn may_aggregate(&mut self, call: &Call<'_>, clause: Clause) -> bool {
        let (what, remedy) = match clause {
            Clause::Select | Clause::Having => return true,
            Clause::Where => ("an aggregate in WHERE, which sees single rows", "conditions on groups stand in HAVING"),
            Clause::GroupBy => ("an aggregate in GROUP BY, which makes the groups", "group by columns of the table"),
            Clause::Argument => ("an aggregate inside an aggregate", "an aggregate is over the rows of the table"),
        };
        self.fault(call.at, format!("{} is {what}", call.name), remedy);
        false
    }

    /// A reference to the aggregate, which the plan has once.
    fn add(&mut self, kind: Kind, argument: Option<Expr>, family: Option<Family>) -> Typed {
        let aggregate = Aggregate { kind, argument };
        let there = self.aggregates.iter().position(|there| *there == aggregate);
        let at = there.unwrap_or_else(|| {
            self.aggregates.push(aggregate);
            self.aggregates.len() - 1
        });
        Typed { expr: Expr::Ref(Ref::Aggregate(at)), family }
    }

    fn scalar(&mut self, call: &Call<'_>, ast: &Ast, clause: Clause) -> Option<Typed> {
        let (function, allowed, usual) = match call.name.as_str() {
            "ABS" => (Function::Abs, 1..=1, "ABS(x)"),
            "ROUND" => (Function::Round, 1..=2, "ROUND(x) or ROUND(x, decimals)"),
            "CEILING" => (Function::Ceil, 1..=1, "CEIL(x)"),
            "COALESCE" => return self.coalesce(call, ast, clause),
            "MOD" => return self.modulo(call, clause),
            other => {
                self.fault(call.at, format!("there is no function `{other}`"), known());
                return None;
            }
        };
        let arguments = self.arguments(call, allowed, usual)?.to_vec();
        let numbers: Vec<_> = arguments.iter().map(|argument| self.number(argument, clause)).collect();
        Some(Typed::number(Expr::Call(function, numbers.into_iter().collect::<Option<_>>()?)))
    }

    fn coalesce(&mut self, call: &Call<'_>, ast: &Ast, clause: Clause) -> Option<Typed> {
        let arguments = self.arguments(call, 1..=usize::MAX, "COALESCE(x, y)")?.to_vec();
        let (exprs, family) = self.alike(&arguments, ast, clause)?;
        Some(Typed { expr: Expr::Call(Function::Coalesce, exprs), family })
    }

    fn modulo(&mut self, call: &Call<'_>, clause: Clause) -> Option<Typed> {
        let &[left, right] = self.arguments(call, 2..=2, "MOD(x, y)")? else { return None };
        let (left, right) = (self.number(left, clause), self.number(right, clause));
        Some(Typed::number(Expr::Arithmetic(Arithmetic::Modulo, Box::new(left?), Box::new(right?))))
    }

    /// An expression that is a number as far as anyone knows.
    pub fn number(&mut self, ast: &Ast, clause: Clause) -> Option<Expr> {
        let typed = self.expr(ast, clause)?;
        self.needs(&typed, Family::Number, ast)
    }

    /// Expressions of which one will be the result: they are of one family as far as anyone knows.
    pub fn alike(&mut self, asts: &[&Ast], whole: &Ast, clause: Clause) -> Option<(Vec<Expr>, Option<Family>)> {
        let typed: Vec<_> = asts.iter().map(|ast| self.expr(ast, clause)).collect();
        let typed: Vec<_> = typed.into_iter().collect::<Option<_>>()?;
        let is_null = |typed: &Typed| matches!(typed.expr, Expr::Literal(None));
        let mut family = typed.iter().find(|typed| !is_null(typed)).and_then(|typed| typed.family);
        for one in typed.iter().filter(|typed| !is_null(typed)) {
            family = self.meet(family, one.family, whole);
        }
        Some((typed.into_iter().map(|typed| typed.expr).collect(), family))
    }
}

/// Minus a literal is a literal.
pub fn negated(expr: Expr) -> Expr {
    match expr {
        Expr::Literal(Some(value)) => {
            let negated = Number::of(&value).and_then(crate::window::number::negate);
            Expr::Literal(negated.or(Some(value)))
        }
        other => Expr::Negate(Box::new(other)),
    }
}

/// A literal of the text of a number.
pub fn literal_number(text: &str) -> Option<Value> {
    match Number::read(text)? {
        Number::Int(n) => i64::try_from(n).ok().map(Value::I64).or_else(|| u64::try_from(n).ok().map(Value::U64)),
        Number::Float(n) => Some(Value::F64(n)),
    }
}
