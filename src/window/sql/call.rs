//! A function as it is called: its name and its arguments, without the forms that have no meaning here.

use sqlparser::ast::{DuplicateTreatment, Expr as Ast, Function, FunctionArg, FunctionArgExpr, FunctionArguments};
use sqlparser::tokenizer::Location;

use super::query::Planner;

pub struct Call<'q> {
    /// In capitals.
    pub name: String,
    pub at: Location,
    /// `None`: the one argument is `*`.
    pub arguments: Option<Vec<&'q Ast>>,
    pub distinct: bool,
}

impl Planner<'_> {
    pub fn call<'q>(&mut self, function: &'q Function) -> Option<Call<'q>> {
        let at = self.words.of(&function.name);
        let name = function.name.to_string().to_ascii_uppercase();
        let FunctionArguments::List(list) = &function.args else {
            let what = match &function.args {
                FunctionArguments::Subquery(_) => format!("{name} of a subquery is not supported"),
                _ => format!("{name} is not supported"),
            };
            self.fault(at, what, super::aggregate::known());
            return None;
        };
        let odd = [
            (function.over.is_some(), "OVER", "a window's rows are its groups: GROUP BY says what they are"),
            (function.filter.is_some(), "FILTER", "write the condition inside: AVG(CASE WHEN … THEN x END)"),
            (
                function.null_treatment.is_some() || !list.clauses.is_empty(),
                "this clause of a call",
                "aggregates pass NULLs over and go by event time",
            ),
            (!function.within_group.is_empty(), "WITHIN GROUP", "write PERCENTILE(x, 0.95)"),
            (function.uses_odbc_syntax, "{fn …}", "call it plainly"),
            (!matches!(function.parameters, FunctionArguments::None), "a second list of arguments", "write one list"),
        ];
        let mut fine = true;
        for (_, form, remedy) in odd.iter().filter(|(is_there, _, _)| *is_there) {
            self.fault(at, format!("{form} is not supported"), *remedy);
            fine = false;
        }
        let mut arguments = Some(Vec::new());
        for argument in &list.args {
            match (argument, &mut arguments) {
                (FunctionArg::Unnamed(FunctionArgExpr::Expr(ast)), Some(arguments)) => arguments.push(ast),
                (FunctionArg::Unnamed(FunctionArgExpr::Wildcard), _) if list.args.len() == 1 => arguments = None,
                _ => {
                    let at = self.words.of(argument);
                    self.fault(at, format!("this argument of {name} is not supported"), "write plain expressions");
                    fine = false;
                }
            }
        }
        let distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
        fine.then_some(Call { name, at, arguments, distinct })
    }

    /// The arguments of a call, if there are as many as this; `usual` shows how it is written.
    pub fn arguments<'c, 'q>(
        &mut self,
        call: &'c Call<'q>,
        allowed: std::ops::RangeInclusive<usize>,
        usual: &str,
    ) -> Option<&'c [&'q Ast]> {
        match &call.arguments {
            Some(arguments) if allowed.contains(&arguments.len()) && !call.distinct => Some(arguments),
            other => {
                let what = match other {
                    None => format!("{}(*) has no meaning", call.name),
                    Some(_) if call.distinct => format!("DISTINCT in {} is not supported", call.name),
                    Some(arguments) => format!("{} has {} arguments", call.name, arguments.len()),
                };
                self.fault(call.at, what, format!("write {usual}"));
                None
            }
        }
    }
}
