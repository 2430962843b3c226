//! The windows: `TUMBLE`, `HOP` and `SESSION` in GROUP BY, their bounds everywhere else.

use sqlparser::ast::Expr as Ast;
use sqlparser::tokenizer::Location;

use super::call::Call;
use super::column::bare;
use super::family::{Family, Typed};
use super::query::{Clause, Planner};
use crate::reading::Value;
use crate::window::plan::{Arithmetic, Expr, Ref, Shape};
use crate::window::shape::divisor;

/// Of how many pieces a window may be made, each as long as the greatest length that divides both slide and size.
const MAX_SLICES: i64 = 1_000;
/// As in Flink, whose times have milliseconds: the last of them inside the window.
const ROWTIME_BEFORE_END: i64 = 1_000;
const WINDOW_COLUMNS: [&str; 3] = ["window_start", "window_end", "window_time"];

/// Which bound of a window a function or column stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bound {
    Start,
    End,
    Rowtime,
}

const WINDOWS: [&str; 4] = ["TUMBLE", "HOP", "SESSION", "CUMULATE"];

/// `HOP_START` to `HOP` and the bound.
fn bound_function(name: &str) -> Option<(&str, Bound)> {
    let (window, bound) = name.rsplit_once('_').filter(|(window, _)| WINDOWS.contains(window))?;
    let bound = match bound {
        "START" => Bound::Start,
        "END" => Bound::End,
        "ROWTIME" => Bound::Rowtime,
        _ => return None,
    };
    Some((window, bound))
}

/// Whether this is about windows, right or wrong.
pub fn is_window_function(name: &str) -> bool {
    WINDOWS.contains(&name) || bound_function(name).is_some()
}

/// Whether this item of GROUP BY is a window.
pub fn is_window(ast: &Ast) -> bool {
    let name = function(ast).map(|function| function.name.to_string().to_ascii_uppercase());
    name.is_some_and(|name| WINDOWS.contains(&name.as_str()))
}

fn function(ast: &Ast) -> Option<&sqlparser::ast::Function> {
    match ast {
        Ast::Nested(inner) => function(inner),
        Ast::Function(function) => Some(function),
        _ => None,
    }
}

impl Planner<'_> {
    pub fn is_window_column(&self, ast: &Ast) -> bool {
        let name = match ast {
            Ast::Identifier(ident) => &ident.value,
            Ast::CompoundIdentifier(parts) => match parts.as_slice() {
                [table, column] if self.qualifiers.contains(&table.value) => &column.value,
                _ => return false,
            },
            _ => return false,
        };
        WINDOW_COLUMNS.contains(&name.as_str())
    }

    /// The shape that a window of GROUP BY has.
    pub fn window(&mut self, ast: &Ast) -> Option<Shape> {
        let call = self.call(function(ast)?)?;
        self.shape_of(&call.name.clone(), &call)
    }

    fn shape_of(&mut self, window: &str, call: &Call<'_>) -> Option<Shape> {
        let time = &self.names.time_column;
        let (count, usual) = match window {
            "HOP" => {
                (3, format!("{}({time}, slide, size), as in INTERVAL '10' SECOND, INTERVAL '1' MINUTE", call.name))
            }
            "CUMULATE" => {
                let remedy = "the windows are TUMBLE(time, size), HOP(time, slide, size) and SESSION(time, gap)";
                self.fault(call.at, "CUMULATE is not supported", remedy);
                return None;
            }
            _ => (2, format!("{}({time}, INTERVAL '1' MINUTE)", call.name)),
        };
        let [column, sizes @ ..] = self.arguments(call, count..=count, &usual)? else { return None };
        self.window_shape(window, call.at, column, sizes)
    }

    pub fn window_shape(&mut self, window: &str, at: Location, column: &Ast, sizes: &[&Ast]) -> Option<Shape> {
        let time = &self.names.time_column;
        if bare(column).is_none_or(|name| name != time) {
            let what = format!("{window} goes by event time, which is the column `{time}`");
            let remedy = format!("write {window}({time}, …), or set time_column");
            let at = self.words.of(column);
            self.fault(at, what, remedy);
        }
        let lengths: Vec<_> = sizes.iter().map(|ast| self.interval(ast)).collect();
        match (window, lengths.as_slice()) {
            ("TUMBLE", [size]) => Some(Shape::Tumble { size: (*size)? }),
            ("SESSION", [gap]) => Some(Shape::Session { gap: (*gap)? }),
            ("HOP", [slide, size]) => {
                let (slide, size) = ((*slide)?, (*size)?);
                let slices = size / divisor(slide, size);
                if slices > MAX_SLICES {
                    let what = format!("each of these windows would be joined from {slices} slices");
                    let remedy =
                        "HOP takes slide, then size: make the size a multiple of the slide, up to 1000 times it";
                    self.fault(at, what, remedy);
                }
                Some(Shape::Hop { slide, size })
            }
            _ => {
                let what = format!("{window} has {} intervals", lengths.len());
                self.fault(at, what, "TUMBLE takes a size, HOP a slide and a size");
                None
            }
        }
    }

    /// `TUMBLE_START(…)` and its like; windows themselves have a fault, as none can stand here.
    pub fn window_function(&mut self, call: &Call<'_>, clause: Clause) -> Option<Typed> {
        let Some((window, bound)) = bound_function(&call.name) else {
            let remedy = format!("{0} stands in GROUP BY alone; elsewhere write {0}_START(…) or {0}_END(…)", call.name);
            self.fault(call.at, format!("{} cannot stand here", call.name), remedy);
            return None;
        };
        self.bound(call, window, bound, clause)
    }

    fn bound(&mut self, call: &Call<'_>, window: &str, bound: Bound, clause: Clause) -> Option<Typed> {
        if self.window_columns {
            let what = format!("{} goes with {window} in GROUP BY", call.name);
            self.fault(call.at, what, "behind FROM TABLE(…) write window_start or window_end");
            return None;
        }
        if !self.knows_the_window(clause, &call.name, call.at) {
            return None;
        }
        let shape = self.shape_of(window, call)?;
        if self.shape.is_some_and(|grouped| grouped != shape) {
            let what = format!("{} is not about the window in GROUP BY", call.name);
            self.fault(call.at, what, format!("write {window} and its intervals alike in both places"));
        }
        Some(bound.typed())
    }

    /// `window_start` and its like, behind `FROM TABLE(TUMBLE(…))`.
    pub fn window_column(&mut self, name: &str, at: Location, clause: Clause) -> Option<Typed> {
        if !self.knows_the_window(clause, name, at) {
            return None;
        }
        Some(match name {
            "window_start" => Bound::Start.typed(),
            "window_end" => Bound::End.typed(),
            _ => Bound::Rowtime.typed(),
        })
    }

    pub fn names_a_window_column(&self, name: &str) -> bool {
        self.window_columns && WINDOW_COLUMNS.contains(&name)
    }

    fn knows_the_window(&mut self, clause: Clause, name: &str, at: Location) -> bool {
        let knows = matches!(clause, Clause::Select | Clause::Having);
        if !knows {
            self.fault(at, format!("`{name}` is known of groups alone, not of rows"), "it stands in SELECT and HAVING");
        }
        knows
    }
}

impl Bound {
    fn typed(self) -> Typed {
        let expr = match self {
            Self::Start => Expr::Ref(Ref::WindowStart),
            Self::End => Expr::Ref(Ref::WindowEnd),
            Self::Rowtime => Expr::Arithmetic(
                Arithmetic::Subtract,
                Box::new(Expr::Ref(Ref::WindowEnd)),
                Box::new(Expr::Literal(Some(Value::I64(ROWTIME_BEFORE_END)))),
            ),
        };
        Typed { expr, family: Some(Family::Number) }
    }
}
