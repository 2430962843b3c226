//! Columns: the fixed ones, tags, and every field by its name.

use sqlparser::ast::{AccessExpr, Expr as Ast, Ident, Subscript, Value as Literal};

use super::family::Typed;
use super::query::{Clause, Planner};
use crate::window::plan::{Expr, Ref, Table};

/// Words that are no name unless quoted. The grammar would take them for columns: `x > AND y` compares with a field
/// called AND.
const RESERVED: [&str; 26] = [
    "SELECT", "DISTINCT", "FROM", "JOIN", "WHERE", "GROUP", "BY", "HAVING", "ORDER", "LIMIT", "UNION", "AS", "AND",
    "OR", "NOT", "IN", "IS", "LIKE", "BETWEEN", "CASE", "WHEN", "THEN", "ELSE", "END", "CAST", "TABLE",
];

/// The name of a column that stands alone.
pub fn bare(ast: &Ast) -> Option<&String> {
    match ast {
        Ast::Nested(inner) => bare(inner),
        Ast::Identifier(ident) => Some(&ident.value),
        _ => None,
    }
}

/// `x` of `tags['x']`.
pub fn tag(ast: &Ast) -> Option<&str> {
    let Ast::CompoundFieldAccess { root, access_chain } = ast else { return None };
    match (&**root, access_chain.as_slice()) {
        (Ast::Identifier(root), [AccessExpr::Subscript(Subscript::Index { index: Ast::Value(index) })])
            if root.value == "tags" =>
        {
            match &index.value {
                Literal::SingleQuotedString(name) => Some(name),
                _ => None,
            }
        }
        _ => None,
    }
}

impl Planner<'_> {
    pub fn column(&mut self, ident: &Ident, clause: Clause) -> Option<Typed> {
        let at = ident.span.start;
        let name = ident.value.as_str();
        if ident.quote_style.is_none() && RESERVED.iter().any(|word| word.eq_ignore_ascii_case(name)) {
            self.fault(at, format!("`{name}` is a word of SQL"), format!("a field of that name is quoted: \"{name}\""));
            return None;
        }
        if self.names_a_window_column(name) {
            return self.window_column(name, at, clause);
        }
        if matches!(clause, Clause::Select | Clause::Having) {
            self.not_grouped(ident, clause);
            return None;
        }
        if name == self.names.time_column {
            return Some(Typed::number(Expr::Ref(Ref::Time)));
        }
        match (name, self.table) {
            ("source", _) => Some(Typed::text(Expr::Ref(Ref::Source))),
            ("device", _) => Some(Typed::text(Expr::Ref(Ref::Device))),
            ("tags", _) => {
                self.fault(at, "`tags` is a map", "name one of them: tags['site']");
                None
            }
            ("metric", Table::Samples) => Some(Typed::text(Expr::Ref(Ref::Metric))),
            ("value", Table::Samples) => Some(Typed { expr: Expr::Ref(Ref::Value), family: None }),
            (_, Table::Readings) if self.is_miswritten(ident) => {
                let right = name.to_lowercase();
                let remedy = format!("write `{right}`; a field of that name is quoted: \"{name}\"");
                self.fault(at, format!("the column `{right}` is written as `{name}`"), remedy);
                None
            }
            (_, Table::Readings) => Some(Typed { expr: Expr::Ref(Ref::Field(name.into())), family: None }),
            (_, Table::Samples) => {
                let remedy = format!(
                    "its columns are {}, source, device, metric, value and tags['…']; fields are columns of {}",
                    self.names.time_column, self.names.table
                );
                self.fault(at, format!("samples has no column `{name}`"), remedy);
                None
            }
        }
    }

    /// A fixed column in other letters: taken for a field, it would be NULL for ever, without a word.
    fn is_miswritten(&self, ident: &Ident) -> bool {
        let fixed = [self.names.time_column.as_str(), "source", "device"];
        ident.quote_style.is_none() && fixed.iter().any(|fixed| fixed.eq_ignore_ascii_case(&ident.value))
    }

    fn not_grouped(&mut self, ident: &Ident, clause: Clause) {
        let name = &ident.value;
        if clause == Clause::Having && self.aliases.contains(name) {
            let what = format!("`{name}` is a name that SELECT gives, which HAVING does not know");
            self.fault(ident.span.start, what, "write the expression itself, as in HAVING COUNT(*) > 3");
        } else {
            let what = format!("`{name}` is neither in GROUP BY nor inside an aggregate");
            self.fault(ident.span.start, what, format!("group by it, or write MAX({name}) or LAST_VALUE({name})"));
        }
    }

    /// `readings.temp`.
    pub fn qualified(&mut self, parts: &[Ident], ast: &Ast, clause: Clause) -> Option<Typed> {
        if let [table, column] = parts
            && self.qualifiers.contains(&table.value)
        {
            return self.column(column, clause);
        }
        let name: Vec<_> = parts.iter().map(|part| part.value.as_str()).collect();
        let name = name.join(".");
        let at = self.words.of(ast);
        self.fault(
            at,
            format!("`{name}` is no column"),
            format!("a field with dots in its name is quoted: \"{name}\""),
        );
        None
    }

    pub fn element(&mut self, ast: &Ast, clause: Clause) -> Option<Typed> {
        let at = self.words.of(ast);
        let Some(tag) = tag(ast) else {
            self.fault(at, "this access is not supported", "tags are read as tags['site'], nested fields as \"a.b\"");
            return None;
        };
        if matches!(clause, Clause::Select | Clause::Having) {
            let what = format!("tags['{tag}'] is neither in GROUP BY nor inside an aggregate");
            self.fault(at, what, format!("group by it, or write LAST_VALUE(tags['{tag}'])"));
            return None;
        }
        Some(Typed::text(Expr::Ref(Ref::Tag(tag.into()))))
    }
}
