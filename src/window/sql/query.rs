//! The clauses of a query, one after the other, into the parts of a plan.

use std::collections::BTreeSet;
use std::sync::Arc;

use sqlparser::ast::{Expr as Ast, GroupByExpr, Query, Select, SelectItem};
use sqlparser::tokenizer::Location;

use super::family::Family;
use super::name::name;
use super::parse::{Words, fault};
use super::window::is_window;
use super::{Names, SqlFault};
use crate::window::plan::{Aggregate, Expr, Plan, Ref, Shape, Table};

/// Where in a query an expression stands; it decides what it may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clause {
    Where,
    GroupBy,
    /// Inside an aggregate.
    Argument,
    /// `SELECT` and `HAVING`: keys, aggregates and the bounds of the window.
    Select,
    Having,
}

/// What has been understood so far.
pub struct Planner<'a> {
    pub names: &'a Names,
    pub words: Words,
    pub faults: Vec<SqlFault>,
    pub table: Table,
    /// What may stand before the dot of a column.
    pub qualifiers: Vec<String>,
    /// `FROM TABLE(TUMBLE(…))`: the window's bounds are columns.
    pub window_columns: bool,
    pub shape: Option<Shape>,
    pub keys: Vec<Expr>,
    pub aggregates: Vec<Aggregate>,
    /// Names given with AS, for people who use them in HAVING or GROUP BY.
    pub aliases: Vec<String>,
    pub depth: usize,
}

impl<'a> Planner<'a> {
    pub fn new(names: &'a Names, words: Words) -> Self {
        Self {
            names,
            words,
            faults: Vec::new(),
            table: Table::Readings,
            qualifiers: Vec::new(),
            window_columns: false,
            shape: None,
            keys: Vec::new(),
            aggregates: Vec::new(),
            aliases: Vec::new(),
            depth: 0,
        }
    }

    pub fn fault(&mut self, at: Location, what: impl Into<String>, remedy: impl Into<String>) {
        self.faults.push(fault(at, what, remedy));
    }

    /// The plan, or nothing and a fault for each reason.
    pub fn query(&mut self, query: &Query) -> Option<Plan> {
        let select = self.only_a_select(query)?;
        self.aliases = select.projection.iter().filter_map(alias).collect();
        self.from(select);
        let filter = select.selection.as_ref().map(|condition| self.condition(condition, Clause::Where));
        self.group_by(select);
        let columns = self.columns(select);
        let having = select.having.as_ref().map(|condition| self.condition(condition, Clause::Having));
        Some(Plan {
            table: self.table,
            filter: filter.and_then(|filter| filter),
            device_key: self.keys.iter().position(|key| *key == Expr::Ref(Ref::Device)),
            keys: std::mem::take(&mut self.keys),
            shape: self.shape?,
            aggregates: std::mem::take(&mut self.aggregates),
            having: having.and_then(|having| having),
            select: columns,
        })
    }

    fn condition(&mut self, ast: &Ast, clause: Clause) -> Option<Expr> {
        let typed = self.expr(ast, clause)?;
        self.needs(&typed, Family::Boolean, ast)
    }

    fn group_by(&mut self, select: &Select) {
        let items = match &select.group_by {
            GroupByExpr::Expressions(items, _) => items.as_slice(),
            GroupByExpr::All(_) => {
                let at = self.words.place("GROUP");
                self.fault(at, "GROUP BY ALL is not supported", "name the keys and the window");
                return;
            }
        };
        // A window that is there but wrong has a fault of its own already.
        let mut windows = 0;
        for item in items {
            let is_window = if self.window_columns { self.is_window_column(item) } else { is_window(item) };
            if !is_window {
                self.key(item);
                continue;
            }
            windows += 1;
            if self.window_columns {
                continue;
            }
            if windows > 1 {
                let at = self.words.of(item);
                self.fault(at, "this is a second window", "GROUP BY takes exactly one; write a [[window]] for each");
                continue;
            }
            self.shape = self.window(item);
        }
        if windows == 0 {
            let at = self.words.place("GROUP");
            let (what, remedy) = if self.window_columns {
                ("the query is not grouped by its window", "write GROUP BY …, window_start, window_end")
            } else {
                let remedy = "write GROUP BY …, TUMBLE(time, INTERVAL '1' MINUTE), or HOP(time, slide, size), or \
                              SESSION(time, gap)";
                ("the query has no window", remedy)
            };
            self.fault(at, what, remedy.replace("time,", &format!("{},", self.names.time_column)));
        }
    }

    fn key(&mut self, item: &Ast) {
        let Some(key) = self.expr(item, Clause::GroupBy) else { return };
        if matches!(key.expr, Expr::Literal(_)) {
            let at = self.words.of(item);
            self.fault(at, "a constant groups nothing", "GROUP BY takes columns and expressions, not their numbers");
        } else if !self.keys.contains(&key.expr) {
            self.keys.push(key.expr);
        }
    }

    fn columns(&mut self, select: &Select) -> Vec<(Arc<str>, Expr)> {
        let mut seen = BTreeSet::new();
        let mut columns = Vec::new();
        for item in &select.projection {
            let (ast, name, at) = match item {
                SelectItem::UnnamedExpr(ast) => (ast, name(ast), self.words.of(ast)),
                SelectItem::ExprWithAlias { expr, alias } => (expr, alias.value.clone(), self.words.named(alias, expr)),
                other => {
                    let at = self.words.of(other);
                    self.fault(at, "SELECT * has no meaning in a window", "name the keys and aggregates to be shown");
                    continue;
                }
            };
            if !seen.insert(name.clone()) {
                self.fault(at, format!("two columns are called `{name}`"), "give one another name with AS");
            }
            if let Some(typed) = self.expr(ast, Clause::Select) {
                columns.push((name.into(), typed.expr));
            }
        }
        columns
    }
}

fn alias(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
        _ => None,
    }
}
