//! What a window's SQL means, once it is understood: the small plan that the fold runs.
//!
//! ```text
//!   reading ──▶ row(s) of the table ──▶ filter ──▶ key ──▶ aggregates, per window ──▶ having ──▶ select
//!               scope of the input                  │        scope of a group
//! ```
//!
//! Two scopes, one kind of expression: the filter, the keys and the arguments of aggregates see a row of the table;
//! `having` and `select` see the keys, the finished aggregates and the bounds of the window.
//!
//! Invariants: an expression refers only to what its scope has; every number of a key or an aggregate is in range.

use std::sync::Arc;

use crate::reading::Value;

/// A value, or NULL.
pub type Datum = Option<Value>;

/// A window's query.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub table: Table,
    /// WHERE: a row passes where this is true, neither false nor NULL.
    pub filter: Option<Expr>,
    /// GROUP BY without the window function, in the order written. Scope of the input.
    pub keys: Vec<Expr>,
    /// Which of the keys is the column `device`.
    pub device_key: Option<usize>,
    pub shape: Shape,
    /// Each once, however often the query names it.
    pub aggregates: Vec<Aggregate>,
    /// Scope of a group.
    pub having: Option<Expr>,
    /// Names and what stands under them, in the order written. Scope of a group.
    pub select: Vec<(Arc<str>, Expr)>,
}

/// What a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// A row a reading: its fields by name.
    Readings,
    /// A row a field of a reading: `metric` and `value`.
    Samples,
}

/// How event time is cut, microseconds. Windows align to the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Tumble { size: i64 },
    Hop { slide: i64, size: i64 },
    Session { gap: i64 },
}

/// One aggregate over the rows of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    pub kind: Kind,
    /// What it is over; `None` for `COUNT(*)` alone. Scope of the input.
    pub argument: Option<Expr>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Count,
    CountDistinct,
    Sum,
    Avg,
    Min,
    Max,
    StddevPop,
    StddevSamp,
    VarPop,
    VarSamp,
    /// By event time; of equal times the earlier in the log.
    FirstValue,
    /// By event time; of equal times the later in the log.
    LastValue,
    /// The quantile asked for, 0 to 1.
    Percentile(f64),
    /// Increase of a counter, a second, resets handled.
    Rate,
    /// Average weighted by how long each value held.
    TimeAvg,
}

/// What an expression can name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ref {
    // Of a row of the table.
    Time,
    Source,
    Device,
    Tag(Arc<str>),
    /// A field of the reading; NULL where it has none of that name. Not in `samples`.
    Field(Arc<str>),
    /// The field's name. Only in `samples`.
    Metric,
    /// The field's value. Only in `samples`.
    Value,

    // Of a group.
    Key(usize),
    Aggregate(usize),
    /// Inclusive, microseconds since the Unix epoch.
    WindowStart,
    /// Exclusive, microseconds since the Unix epoch.
    WindowEnd,
}

/// Something with a value, in SQL's three-valued logic.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    Literal(Datum),
    Ref(Ref),
    Not(Box<Expr>),
    Negate(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Compare(Comparison, Box<Expr>, Box<Expr>),
    Arithmetic(Arithmetic, Box<Expr>, Box<Expr>),
    IsNull(Box<Expr>),
    /// `x IN (a, b, …)`
    In(Box<Expr>, Vec<Expr>),
    /// `x LIKE pattern`, `%` and `_`.
    Like(Box<Expr>, Box<Expr>),
    /// Each condition with its result, and what comes where none is true.
    Case(Vec<(Expr, Expr)>, Box<Expr>),
    Call(Function, Vec<Expr>),
    Cast(Box<Expr>, Type),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    /// In 64-bit floats always.
    Divide,
    Modulo,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    Abs,
    /// `ROUND(x)` or `ROUND(x, decimals)`
    Round,
    Floor,
    Ceil,
    Coalesce,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Integer,
    Double,
    Boolean,
    Text,
}

/// Where an expression finds what it names.
pub trait Scope {
    /// The value under a name. What the scope does not have is NULL.
    fn get(&self, name: &Ref) -> Datum;
}
