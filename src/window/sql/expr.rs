//! Expressions: what an operator, a literal or a CASE becomes, and where a key of GROUP BY is meant.

use sqlparser::ast::{
    BinaryOperator, CaseWhen, CastKind, CeilFloorKind, DataType, DateTimeField, ExactNumberInfo, Expr as Ast, InTarget,
    UnaryOperator, Value as Literal,
};

use super::aggregate::{literal_number, negated};
use super::family::{Family, Typed};
use super::query::{Clause, Planner};
use crate::reading::Value;
use crate::window::plan::{Arithmetic, Comparison, Expr, Function, Ref, Type};

/// Walking a tree takes stack; this much of it is there in any thread.
const MAX_DEPTH: usize = 100;

impl Planner<'_> {
    /// What an expression means in a clause, or nothing and a fault for each reason.
    pub fn expr(&mut self, ast: &Ast, clause: Clause) -> Option<Typed> {
        if self.depth >= MAX_DEPTH {
            let at = self.words.of(ast);
            self.fault(at, "this is nested too deeply", format!("up to {MAX_DEPTH} levels; a long OR may be an IN"));
            return None;
        }
        self.depth += 1;
        let typed = self.key_of_group(ast, clause).or_else(|| self.node(ast, clause));
        self.depth -= 1;
        typed
    }

    /// SELECT and HAVING may repeat a key of GROUP BY, whatever expression it is.
    fn key_of_group(&mut self, ast: &Ast, clause: Clause) -> Option<Typed> {
        if !matches!(clause, Clause::Select | Clause::Having) || self.keys.is_empty() || is_plain(ast) {
            return None;
        }
        // As a key it may have faults that it has not here.
        let faults = self.faults.len();
        let typed = self.expr(ast, Clause::GroupBy);
        self.faults.truncate(faults);
        let typed = typed?;
        let key = self.keys.iter().position(|key| *key == typed.expr)?;
        Some(Typed { expr: Expr::Ref(Ref::Key(key)), family: typed.family })
    }

    fn node(&mut self, ast: &Ast, clause: Clause) -> Option<Typed> {
        match ast {
            Ast::Nested(inner) => self.expr(inner, clause),
            Ast::Identifier(ident) => self.column(ident, clause),
            Ast::CompoundIdentifier(parts) => self.qualified(parts, ast, clause),
            Ast::CompoundFieldAccess { .. } => self.element(ast, clause),
            Ast::Value(value) => self.literal(&value.value, ast),
            Ast::UnaryOp { op, expr } => self.unary(*op, expr, ast, clause),
            Ast::BinaryOp { left, op, right } => self.binary(left, op, right, ast, clause),
            Ast::IsNull(inner) => Some(Typed::boolean(Expr::IsNull(self.expr(inner, clause)?.boxed()))),
            Ast::IsNotNull(inner) => {
                Some(Typed::boolean(Expr::Not(Box::new(Expr::IsNull(self.expr(inner, clause)?.boxed())))))
            }
            Ast::IsTrue(inner) => self.is(inner, Some(true), false, clause),
            Ast::IsNotTrue(inner) => self.is(inner, Some(true), true, clause),
            Ast::IsFalse(inner) => self.is(inner, Some(false), false, clause),
            Ast::IsNotFalse(inner) => self.is(inner, Some(false), true, clause),
            Ast::IsUnknown(inner) => self.is(inner, None, false, clause),
            Ast::IsNotUnknown(inner) => self.is(inner, None, true, clause),
            Ast::In { expr, target: InTarget::List(list), negated, global: false } => {
                self.contains(expr, list, *negated, ast, clause)
            }
            Ast::Between { expr, negated, low, high } => self.between([expr, low, high], *negated, ast, clause),
            Ast::Like { negated, any: false, expr, pattern, escape_char: None } => {
                let (text, pattern) = (self.text(expr, clause), self.text(pattern, clause));
                Some(unless(*negated, Expr::Like(Box::new(text?), Box::new(pattern?))))
            }
            Ast::Case { operand, conditions, else_result, .. } => {
                self.case(operand.as_deref(), conditions, else_result.as_deref(), ast, clause)
            }
            Ast::Cast {
                kind: CastKind::Cast | CastKind::TryCast | CastKind::DoubleColon,
                expr,
                data_type,
                format: None,
            } => {
                let to = self.cast_type(data_type, ast);
                let inner = self.expr(expr, clause)?.boxed();
                let to = to?;
                Some(Typed { expr: Expr::Cast(inner, to), family: Some(to.into()) })
            }
            Ast::Floor { expr, field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) } => {
                Some(Typed::number(Expr::Call(Function::Floor, vec![self.number(expr, clause)?])))
            }
            Ast::Ceil { expr, field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) } => {
                Some(Typed::number(Expr::Call(Function::Ceil, vec![self.number(expr, clause)?])))
            }
            Ast::Function(function) => self.function(function, ast, clause),
            other => self.unsupported(other),
        }
    }

    fn unsupported(&mut self, ast: &Ast) -> Option<Typed> {
        let (what, remedy) = match ast {
            Ast::Subquery(_) | Ast::Exists { .. } | Ast::In { .. } => ("a subquery", "IN takes a list: x IN (1, 2)"),
            Ast::Rollup(_) => ("ROLLUP", "write a [[window]] for each way of grouping"),
            Ast::Cube(_) => ("CUBE", "write a [[window]] for each way of grouping"),
            Ast::GroupingSets(_) => ("GROUPING SETS", "write a [[window]] for each way of grouping"),
            Ast::Tuple(_) => ("a list in parentheses", "write its parts without them"),
            Ast::ILike { .. } => ("ILIKE", "write x LIKE 'a%'"),
            Ast::Like { .. } => ("LIKE with ANY or ESCAPE", "write x LIKE 'a%'"),
            Ast::SimilarTo { .. } | Ast::RLike { .. } => ("a regular expression", "write x LIKE 'a%'"),
            Ast::IsDistinctFrom(..) | Ast::IsNotDistinctFrom(..) => {
                ("IS DISTINCT FROM", "write x <> y OR x IS NULL, or COALESCE(x, 0) <> y")
            }
            Ast::TypedString(_) => ("a literal of date or time", "times are whole microseconds since 1970"),
            Ast::Interval(_) => ("an interval outside of a window", "times are whole microseconds since 1970"),
            Ast::Floor { .. } | Ast::Ceil { .. } => ("FLOOR or CEIL to a unit", "write FLOOR(x); windows cut time"),
            Ast::Cast { .. } | Ast::Convert { .. } => ("this form of CAST", "write CAST(x AS DOUBLE)"),
            Ast::Extract { .. } | Ast::AtTimeZone { .. } => ("a calendar", "times are whole microseconds since 1970"),
            Ast::Substring { .. } | Ast::Trim { .. } | Ast::Position { .. } | Ast::Overlay { .. } => {
                ("a function that cuts text", "text is compared, matched with LIKE, or shown")
            }
            _ => ("this expression", "there are comparisons, AND OR NOT, + - * / %, IN, BETWEEN, LIKE, CASE and calls"),
        };
        let at = self.words.of(ast);
        self.fault(at, format!("{what} is not supported"), remedy);
        None
    }

    fn literal(&mut self, literal: &Literal, ast: &Ast) -> Option<Typed> {
        match literal {
            Literal::Null => return Some(Typed { expr: Expr::Literal(None), family: None }),
            Literal::Boolean(is) => return Some(Typed::boolean(Expr::Literal(Some(Value::Bool(*is))))),
            Literal::SingleQuotedString(text) => {
                return Some(Typed::text(Expr::Literal(Some(Value::Text(text.as_str().into())))));
            }
            Literal::Number(digits, false) => {
                if let Some(number) = literal_number(digits) {
                    return Some(Typed::number(Expr::Literal(Some(number))));
                }
            }
            _ => {}
        }
        let at = self.words.of(ast);
        self.fault(at, "this literal is not supported", "write 12, 1.5, 'text', TRUE, FALSE or NULL");
        None
    }

    fn text(&mut self, ast: &Ast, clause: Clause) -> Option<Expr> {
        let typed = self.expr(ast, clause)?;
        self.needs(&typed, Family::Text, ast)
    }

    fn boolean(&mut self, ast: &Ast, clause: Clause) -> Option<Expr> {
        let typed = self.expr(ast, clause)?;
        self.needs(&typed, Family::Boolean, ast)
    }

    fn unary(&mut self, op: UnaryOperator, inner: &Ast, ast: &Ast, clause: Clause) -> Option<Typed> {
        match op {
            UnaryOperator::Not => Some(Typed::boolean(Expr::Not(Box::new(self.boolean(inner, clause)?)))),
            UnaryOperator::Minus => Some(Typed::number(negated(self.number(inner, clause)?))),
            UnaryOperator::Plus => Some(Typed::number(self.number(inner, clause)?)),
            other => {
                let at = self.words.of(ast);
                self.fault(at, format!("the operator {other} is not supported"), OPERATORS);
                None
            }
        }
    }

    fn binary(&mut self, left: &Ast, op: &BinaryOperator, right: &Ast, ast: &Ast, clause: Clause) -> Option<Typed> {
        if let BinaryOperator::And | BinaryOperator::Or = op {
            let (left, right) = (self.boolean(left, clause), self.boolean(right, clause));
            let (left, right) = (Box::new(left?), Box::new(right?));
            let and = *op == BinaryOperator::And;
            return Some(Typed::boolean(if and { Expr::And(left, right) } else { Expr::Or(left, right) }));
        }
        if let Some(how) = comparison(op) {
            let (left, right) = (self.expr(left, clause), self.expr(right, clause));
            let (left, right) = (left?, right?);
            self.meet(left.family, right.family, ast);
            return Some(Typed::boolean(Expr::Compare(how, left.boxed(), right.boxed())));
        }
        let how = match op {
            BinaryOperator::Plus => Arithmetic::Add,
            BinaryOperator::Minus => Arithmetic::Subtract,
            BinaryOperator::Multiply => Arithmetic::Multiply,
            BinaryOperator::Divide => Arithmetic::Divide,
            BinaryOperator::Modulo => Arithmetic::Modulo,
            other => {
                let at = self.words.of(ast);
                self.fault(at, format!("the operator {other} is not supported"), OPERATORS);
                return None;
            }
        };
        let (left, right) = (self.number(left, clause), self.number(right, clause));
        Some(Typed::number(Expr::Arithmetic(how, Box::new(left?), Box::new(right?))))
    }

    /// `IS [NOT] TRUE`, `FALSE` or `UNKNOWN`: never NULL.
    fn is(&mut self, inner: &Ast, wanted: Option<bool>, negated: bool, clause: Clause) -> Option<Typed> {
        let inner = self.boolean(inner, clause)?;
        let found = match wanted {
            None => Expr::IsNull(Box::new(inner)),
            Some(wanted) => {
                let literal = |is: bool| Expr::Literal(Some(Value::Bool(is)));
                let same = Expr::Compare(Comparison::Equal, Box::new(inner), Box::new(literal(wanted)));
                Expr::Call(Function::Coalesce, vec![same, literal(false)])
            }
        };
        Some(unless(negated, found))
    }

    fn contains(&mut self, needle: &Ast, list: &[Ast], negated: bool, ast: &Ast, clause: Clause) -> Option<Typed> {
        let needle = self.expr(needle, clause);
        let list: Vec<_> = list.iter().map(|item| self.expr(item, clause)).collect();
        let needle = needle?;
        let list: Vec<_> = list.into_iter().collect::<Option<_>>()?;
        for item in &list {
            self.meet(needle.family, item.family, ast);
        }
        let list = list.into_iter().map(|item| item.expr).collect();
        Some(unless(negated, Expr::In(needle.boxed(), list)))
    }

    fn between(&mut self, of: [&Ast; 3], negated: bool, ast: &Ast, clause: Clause) -> Option<Typed> {
        let [value, low, high] = of.map(|part| self.expr(part, clause));
        let (value, low, high) = (value?, low?, high?);
        self.meet(value.family, low.family, ast);
        self.meet(value.family, high.family, ast);
        let above = Expr::Compare(Comparison::GreaterOrEqual, value.clone().boxed(), low.boxed());
        let below = Expr::Compare(Comparison::LessOrEqual, value.boxed(), high.boxed());
        Some(unless(negated, Expr::And(Box::new(above), Box::new(below))))
    }

    fn case(
        &mut self,
        operand: Option<&Ast>,
        branches: &[CaseWhen],
        otherwise: Option<&Ast>,
        ast: &Ast,
        clause: Clause,
    ) -> Option<Typed> {
        let operand = operand.map(|operand| self.expr(operand, clause));
        let conditions: Vec<_> =
            branches.iter().map(|branch| self.branch(operand.as_ref(), &branch.condition, clause)).collect();
        let mut results: Vec<_> = branches.iter().map(|branch| &branch.result).collect();
        results.extend(otherwise);
        let (mut results, family) = self.alike(&results, ast, clause)?;
        let last = if otherwise.is_some() { results.pop()? } else { Expr::Literal(None) };
        let conditions: Vec<_> = conditions.into_iter().collect::<Option<_>>()?;
        Some(Typed { expr: Expr::Case(conditions.into_iter().zip(results).collect(), Box::new(last)), family })
    }

    /// `WHEN condition`, or `WHEN value` of a `CASE operand`.
    fn branch(&mut self, operand: Option<&Option<Typed>>, ast: &Ast, clause: Clause) -> Option<Expr> {
        let Some(operand) = operand else { return self.boolean(ast, clause) };
        let value = self.expr(ast, clause)?;
        let operand = operand.as_ref()?;
        self.meet(operand.family, value.family, ast);
        Some(Expr::Compare(Comparison::Equal, operand.clone().boxed(), value.boxed()))
    }

    fn cast_type(&mut self, to: &DataType, ast: &Ast) -> Option<Type> {
        match to {
            DataType::TinyInt(None)
            | DataType::SmallInt(None)
            | DataType::Int(None)
            | DataType::Integer(None)
            | DataType::BigInt(None) => Some(Type::Integer),
            DataType::Float(ExactNumberInfo::None)
            | DataType::Double(ExactNumberInfo::None)
            | DataType::DoublePrecision
            | DataType::Real => Some(Type::Double),
            DataType::Boolean | DataType::Bool => Some(Type::Boolean),
            DataType::Varchar(None) | DataType::String(None) | DataType::Text => Some(Type::Text),
            other => {
                let at = self.words.of(ast);
                let remedy = "the types are BIGINT, DOUBLE, BOOLEAN and VARCHAR, without a length";
                self.fault(at, format!("CAST to {other} is not supported"), remedy);
                None
            }
        }
    }
}

const OPERATORS: &str = "the operators are + - * / % = <> < <= > >= AND OR NOT";

/// What can be no key: a literal is not looked for, nor what only wraps.
fn is_plain(ast: &Ast) -> bool {
    matches!(ast, Ast::Value(_) | Ast::Nested(_))
}

fn unless(negated: bool, expr: Expr) -> Typed {
    Typed::boolean(if negated { Expr::Not(Box::new(expr)) } else { expr })
}

fn comparison(op: &BinaryOperator) -> Option<Comparison> {
    Some(match op {
        BinaryOperator::Eq => Comparison::Equal,
        BinaryOperator::NotEq => Comparison::NotEqual,
        BinaryOperator::Lt => Comparison::Less,
        BinaryOperator::LtEq => Comparison::LessOrEqual,
        BinaryOperator::Gt => Comparison::Greater,
        BinaryOperator::GtEq => Comparison::GreaterOrEqual,
        _ => return None,
    })
}
