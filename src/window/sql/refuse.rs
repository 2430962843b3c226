//! What the grammar reads and a window cannot mean: each refused by its name.

use sqlparser::ast::{GroupByExpr, LimitClause, Query, Select, SelectFlavor, SetExpr};

use super::query::Planner;

impl Planner<'_> {
    /// The one SELECT that a query must be, with a fault for everything around and inside that has no meaning here.
    pub fn only_a_select<'q>(&mut self, query: &'q Query) -> Option<&'q Select> {
        let around = [
            (query.with.is_some(), "WITH", "WITH"),
            (query.order_by.is_some(), "ORDER", "ORDER BY"),
            (matches!(query.limit_clause, Some(LimitClause::LimitOffset { limit: Some(_), .. })), "LIMIT", "LIMIT"),
            (matches!(query.limit_clause, Some(LimitClause::LimitOffset { offset: Some(_), .. })), "OFFSET", "OFFSET"),
            (matches!(query.limit_clause, Some(LimitClause::OffsetCommaLimit { .. })), "LIMIT", "LIMIT"),
            (query.fetch.is_some(), "FETCH", "FETCH"),
            (!query.locks.is_empty() || query.for_clause.is_some(), "FOR", "FOR"),
            (query.settings.is_some(), "SETTINGS", "SETTINGS"),
            (query.format_clause.is_some(), "FORMAT", "FORMAT"),
            (!query.pipe_operators.is_empty(), "FROM", "a pipe"),
        ];
        self.refuse(&around);
        match &*query.body {
            SetExpr::Select(select) => {
                self.inside(select);
                Some(select)
            }
            SetExpr::SetOperation { op, .. } => {
                let op = op.to_string();
                let at = self.words.place(&op);
                self.fault(at, format!("{op} is not supported"), "a window is one SELECT; write a [[window]] for each");
                None
            }
            _ => {
                let at = self.words.of(query);
                self.fault(at, "this is not a plain SELECT", "a window is one SELECT … FROM readings GROUP BY …");
                None
            }
        }
    }

    fn inside(&mut self, select: &Select) {
        let modifiers = match &select.group_by {
            GroupByExpr::All(modifiers) | GroupByExpr::Expressions(_, modifiers) => modifiers,
        };
        let odd = select.select_modifiers.is_some()
            || select.value_table_mode.is_some()
            || select.exclude.is_some()
            || select.flavor != SelectFlavor::Standard;
        self.refuse(&[
            (select.distinct.is_some(), "DISTINCT", "SELECT DISTINCT"),
            (select.top.is_some(), "TOP", "TOP"),
            (odd, "SELECT", "this form of SELECT"),
            (select.into.is_some(), "INTO", "INTO"),
            (!select.lateral_views.is_empty(), "LATERAL", "LATERAL VIEW"),
            (select.prewhere.is_some(), "PREWHERE", "PREWHERE"),
            (!select.connect_by.is_empty(), "CONNECT", "CONNECT BY"),
            (!modifiers.is_empty(), "WITH", "WITH behind GROUP BY"),
            (!select.cluster_by.is_empty(), "CLUSTER", "CLUSTER BY"),
            (!select.distribute_by.is_empty(), "DISTRIBUTE", "DISTRIBUTE BY"),
            (!select.sort_by.is_empty(), "SORT", "SORT BY"),
            (!select.named_window.is_empty(), "WINDOW", "WINDOW"),
            (select.qualify.is_some(), "QUALIFY", "QUALIFY"),
        ]);
    }

    fn refuse(&mut self, clauses: &[(bool, &str, &str)]) {
        for (_, word, name) in clauses.iter().filter(|(is_there, _, _)| *is_there) {
            let at = self.words.place(word);
            let remedy = "a window has SELECT, FROM, WHERE, GROUP BY and HAVING";
            self.fault(at, format!("{name} is not supported"), remedy);
        }
    }
}
