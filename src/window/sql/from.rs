//! `FROM`: which table, and whether its rows come with the bounds of their windows.

use sqlparser::ast::{Expr as Ast, FunctionArg, Ident, ObjectName, Select, TableAlias, TableFactor};
use sqlparser::tokenizer::Location;

use super::query::Planner;
use crate::window::plan::Table;

impl Planner<'_> {
    pub fn from(&mut self, select: &Select) {
        let Some((first, more)) = select.from.split_first() else {
            let at = self.words.place("SELECT");
            self.fault(at, "the query has no FROM", self.tables());
            return;
        };
        for join in &first.joins {
            let at = self.words.of(&join.relation);
            self.fault(at, "JOIN is not supported", "a window reads one table; join where its rows arrive");
        }
        for table in more {
            let at = self.words.of(&table.relation);
            self.fault(at, "a second table in FROM is a join, which is not supported", "a window reads one table");
        }
        self.factor(&first.relation);
    }

    fn factor(&mut self, factor: &TableFactor) {
        match factor {
            TableFactor::Table { name, alias, args: None, sample: None, version: None, .. } => {
                self.named(name);
                self.alias(alias.as_ref());
            }
            TableFactor::Table { name, alias, args: Some(arguments), .. } => {
                self.over_a_table(name, &arguments.args);
                self.alias(alias.as_ref());
            }
            TableFactor::TableFunction { expr: Ast::Function(function), alias } => {
                if let sqlparser::ast::FunctionArguments::List(arguments) = &function.args {
                    self.over_a_table(&function.name, &arguments.args);
                }
                self.alias(alias.as_ref());
            }
            TableFactor::Derived { .. } => {
                let at = self.words.of(factor);
                self.fault(at, "a subquery is not supported", self.tables());
            }
            _ => {
                let at = self.words.of(factor);
                self.fault(at, "this is no table of a window", self.tables());
            }
        }
    }

    fn alias(&mut self, alias: Option<&TableAlias>) {
        self.qualifiers.extend(alias.map(|alias| alias.name.value.clone()));
    }

    fn named(&mut self, name: &ObjectName) {
        let at = self.words.of(name);
        match name.0.as_slice() {
            [part] => match part.as_ident() {
                Some(ident) => self.table_called(ident, at),
                None => self.fault(at, format!("there is no table `{name}`"), self.tables()),
            },
            _ => self.fault(at, format!("there is no table `{name}`"), self.tables()),
        }
    }

    fn table_called(&mut self, ident: &Ident, at: Location) {
        let called = |name: &str| ident.value.eq_ignore_ascii_case(name);
        if called(&self.names.table) || called("readings") {
            self.table = Table::Readings;
        } else if called("samples") {
            self.table = Table::Samples;
        } else {
            let remedy = format!("{}, or set table = \"{}\"", self.tables(), ident.value);
            self.fault(at, format!("there is no table `{}`", ident.value), remedy);
        }
        self.qualifiers.push(ident.value.clone());
    }

    fn tables(&self) -> String {
        format!("write FROM {} (a row a reading) or FROM samples (a row a field)", self.names.table)
    }

    /// `TUMBLE(TABLE readings, DESCRIPTOR(time), size)`, without the inner `TABLE`.
    fn over_a_table(&mut self, name: &ObjectName, arguments: &[FunctionArg]) {
        self.window_columns = true;
        let at = self.words.of(name);
        let function = name.to_string().to_ascii_uppercase();
        let usual =
            format!("TUMBLE(TABLE {}, DESCRIPTOR({}), INTERVAL '1' MINUTE)", self.names.table, self.names.time_column);
        if function != "TUMBLE" && function != "HOP" {
            let what = format!("{function} over a table is not supported");
            self.fault(at, what, format!("write FROM TABLE({usual}), or HOP with slide and size"));
            return;
        }
        let plain = |argument: &FunctionArg| match argument {
            FunctionArg::Unnamed(sqlparser::ast::FunctionArgExpr::Expr(ast)) => Some(ast.clone()),
            _ => None,
        };
        let Some(arguments) = arguments.iter().map(plain).collect::<Option<Vec<Ast>>>() else {
            self.fault(at, format!("{function} takes its arguments by place"), format!("write {usual}"));
            return;
        };
        let [table, column, sizes @ ..] = arguments.as_slice() else {
            self.fault(at, format!("{function} needs a table and a column of time"), format!("write {usual}"));
            return;
        };
        if let Ast::Identifier(ident) = table {
            self.table_called(ident, self.words.of(table));
        } else {
            let at = self.words.of(table);
            self.fault(at, format!("{function} needs a table"), format!("write {usual}"));
        }
        if let Some(column) = self.described(column, &usual) {
            let sizes: Vec<&Ast> = sizes.iter().collect();
            self.shape = self.window_shape(&function, at, &column, &sizes);
        }
    }

    /// The column in `DESCRIPTOR(column)`.
    fn described(&mut self, ast: &Ast, usual: &str) -> Option<Ast> {
        if let Ast::Function(function) = ast
            && function.name.to_string().eq_ignore_ascii_case("DESCRIPTOR")
            && let Some([column]) = self.call(function)?.arguments.as_deref()
        {
            return Some((*column).clone());
        }
        let at = self.words.of(ast);
        self.fault(at, "this argument is the column of time", format!("write {usual}"));
        None
    }
}
