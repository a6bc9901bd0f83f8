//! The types of an expression, and what else can be known to be wrong with it before there is a request.

mod names;
mod places;

use super::WhenMistake;
use super::kind::{FUNCTIONS, Kind, MACROS, Scope};
use crate::regex::searching;
use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue, SourceInfo, operators};
use places::Places;
use regex::bytes::Regex;

/// The deepest tree. What evaluates it goes down the stack with it, by some 35 KiB a step where it is not optimised:
/// then it takes a third of a thread's usual 2 MiB.
const DEEPEST: usize = 20;
/// The most loops within one another, of which one may be over what a request brings.
const LOOPS: usize = 2;

/// An expression whose names are those of [`Variables`](super::variables::Variables), and its patterns by theirs.
pub(super) type Checked = (IdedExpr, Vec<(String, Regex)>);

/// Checks an expression, and makes it what is evaluated: with the names of variables in one piece, and patterns that
/// are compiled.
pub(super) fn check(
    about: Scope,
    mut expression: IdedExpr,
    source: &SourceInfo,
) -> Result<Checked, Vec<WhenMistake>> {
    let mut checker = Checker {
        about,
        places: Places::new(source),
        scope: Vec::new(),
        loops: 0,
        long: 0,
        patterns: Vec::new(),
        mistakes: Vec::new(),
    };
    match checker.expression(&mut expression, 1) {
        None | Some(Kind::Bool) => {}
        Some(kind) => {
            let help = "compare it with something, such as `request.method == 'GET'`".to_owned();
            checker.wrong_at(0, 1, format!("the expression is {kind}; expected `bool`"), Some(help));
        }
    }
    let mut mistakes = checker.mistakes;
    mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
    mistakes.dedup();
    if mistakes.is_empty() { Ok((expression, checker.patterns)) } else { Err(mistakes) }
}

struct Checker<'s> {
    about: Scope,
    places: Places<'s>,
    /// The names of loops, the innermost last.
    scope: Vec<(String, Option<Kind>)>,
    loops: usize,
    /// How many of them are over what a request brings.
    long: usize,
    patterns: Vec<(String, Regex)>,
    mistakes: Vec<WhenMistake>,
}

impl Checker<'_> {
    /// The type of what may be wrong in itself: then it is `None`, and what stands around it is not to blame.
    fn expression(&mut self, expression: &mut IdedExpr, depth: usize) -> Option<Kind> {
        if depth > DEEPEST {
            let message = format!("operators are nested more than {DEEPEST} deep");
            return self.wrong(expression.id, 1, message, None);
        }
        if let Some(path) = self.path(expression) {
            return self.variable(expression, &path);
        }
        let id = expression.id;
        match &mut expression.expr {
            Expr::Literal(LiteralValue::Boolean(_)) => Some(Kind::Bool),
            Expr::Literal(LiteralValue::Int(_)) => Some(Kind::Int),
            Expr::Literal(LiteralValue::UInt(_)) => Some(Kind::Uint),
            Expr::Literal(LiteralValue::Double(_)) => Some(Kind::Double),
            Expr::Literal(LiteralValue::String(_)) => Some(Kind::Text),
            Expr::Literal(LiteralValue::Null) => {
                let help = "ask whether something is there: `'x-plan' in request.headers`";
                self.wrong(id, 4, "nothing is `null` here".to_owned(), Some(help.to_owned()))
            }
            Expr::Literal(LiteralValue::Bytes(_)) => self.left_out(id, "bytes are"),
            Expr::Map(_) => self.left_out(id, "maps in braces are"),
            Expr::Struct(_) => self.left_out(id, "messages are"),
            Expr::Unspecified => self.wrong(id, 1, "this is no expression".to_owned(), None),
            // All that is left of names are those of loops.
            Expr::Ident(name) => self.local(name).flatten(),
            Expr::Select(_) => self.select(expression, depth),
            Expr::List(list) => {
                let mut all = Some(Kind::List(None));
                for element in &mut list.elements {
                    let kind = self.expression(element, depth + 1);
                    if kind.as_ref().is_some_and(Kind::is_map) {
                        return self.left_out(element.id, "lists of maps are");
                    }
                    let Some((before, kind)) = all.zip(kind) else {
                        all = None;
                        continue;
                    };
                    all = before.joined(&Kind::List(Some(Box::new(kind.clone()))));
                    if all.is_none() {
                        let message = format!("{kind} among others in a list; expected elements of one type");
                        self.wrong(element.id, 1, message, None);
                    }
                }
                all
            }
            Expr::Call(_) => self.call(expression, depth),
            Expr::Comprehension(comprehension) => self.each(id, comprehension, depth),
        }
    }

    fn call(&mut self, expression: &mut IdedExpr, depth: usize) -> Option<Kind> {
        let id = expression.id;
        let Expr::Call(called) = &mut expression.expr else { return None };
        let name = called.func_name.clone();
        if name == "matches" && called.args.len() + usize::from(called.target.is_some()) == 2 {
            return self.matches(id, called, depth);
        }
        let usage = FUNCTIONS.iter().find(|(known, _)| *known == name).map(|(_, usage)| *usage);
        if MACROS.contains(&&*name) {
            let help = usage.map(|usage| format!("it is called as in `{usage}`"));
            return self.wrong_call(id, &name, format!("`{name}` takes other arguments"), help);
        }
        let on_target = called.target.is_some();
        let mut kinds = Vec::new();
        for one in called.target.as_deref_mut().into_iter().chain(&mut called.args) {
            kinds.push(self.expression(one, depth + 1));
        }
        if let (operators::INDEX, [of, key]) | (operators::IN, [key, of]) = (name.as_str(), &called.args[..])
        {
            self.key(of, key);
        }
        let is_operator = !name.starts_with(|c: char| c.is_alphabetic());
        if usage.is_none() && !is_operator {
            let meant = nearest(&name, FUNCTIONS.iter().map(|(name, _)| *name));
            let help = match meant.and_then(|meant| FUNCTIONS.iter().find(|(known, _)| *known == meant)) {
                Some((meant, usage)) => format!("did you mean `{meant}`, as in `{usage}`?"),
                None => format!("the functions are {}", FUNCTIONS.map(|(name, _)| name).join(", ")),
            };
            let message = format!("there is no function `{name}`");
            return self.wrong_call(id, &name, message, Some(help));
        }
        let known: Option<Vec<Kind>> = kinds.into_iter().collect();
        let Some(known) = known else {
            // What a comparison gives is known whatever is wrong with its sides.
            let bool = matches!(
                name.as_str(),
                "_&&_" | "_||_" | "!_" | "_==_" | "_!=_" | "_<_" | "_<=_" | "_>_" | "_>=_" | "@in"
            );
            return bool.then_some(Kind::Bool);
        };
        let kind = Kind::of_call(&name, on_target, &known);
        if kind.is_none() {
            let types: Vec<_> = known.iter().map(Kind::to_string).collect();
            let shown = name.trim_matches(['_', '@']);
            let help = usage.map(|usage| format!("it is called as in `{usage}`"));
            let help = help.or_else(|| {
                let number = known.iter().any(|kind| matches!(kind, Kind::Int | Kind::Uint | Kind::Double));
                (number && known.contains(&Kind::Text))
                    .then(|| "of a text `int(…)` makes a number".to_owned())
            });
            let of = if types.is_empty() { "nothing".to_owned() } else { types.join(" and ") };
            self.wrong_call(id, shown, format!("`{shown}` is not for {of}"), help);
        }
        kind
    }

    /// `text.matches('pattern')` and `matches(text, 'pattern')`.
    fn matches(&mut self, id: u64, called: &mut CallExpr, depth: usize) -> Option<Kind> {
        let pattern = called.args.pop()?;
        let mut text = match called.target.take() {
            Some(target) => target,
            None => Box::new(called.args.pop()?),
        };
        let kind = self.expression(&mut text, depth + 1);
        match &kind {
            Some(Kind::Text) | None => {}
            Some(kind) => {
                self.wrong_call(
                    id,
                    "matches",
                    format!("`matches` is not for {kind}; expected `string`"),
                    None,
                );
            }
        }
        let Expr::Literal(LiteralValue::String(written)) = &pattern.expr else {
            let message = "the pattern of `matches` must be a text in quotes".to_owned();
            let help = "a part of the request is found with `contains`".to_owned();
            return self.wrong(pattern.id, 1, message, Some(help));
        };
        match searching(written.inner()) {
            Ok(regex) => {
                // No name that anybody could write.
                let name = format!("@pattern{}", self.patterns.len());
                called.args = vec![IdedExpr { id: pattern.id, expr: Expr::Ident(name.clone()) }];
                called.target = Some(text);
                self.patterns.push((name, regex));
            }
            Err(why) => {
                let message = format!("`{}` is not a regular expression: {why}", written.inner());
                self.wrong(pattern.id, written.inner().chars().count() + 2, message, None);
            }
        }
        Some(Kind::Bool)
    }

    /// A loop, which was `exists` or another macro.
    fn each(&mut self, id: u64, each: &mut ComprehensionExpr, depth: usize) -> Option<Kind> {
        let element = match self.expression(&mut each.iter_range, depth + 1) {
            Some(Kind::List(element)) => element.map(|element| *element),
            Some(Kind::Map | Kind::Lists) => Some(Kind::Text),
            Some(kind) => {
                return self.wrong(id, 1, format!("a loop is over a list or a map, not {kind}"), None);
            }
            None => None,
        };
        let long = usize::from(!matches!(each.iter_range.expr, Expr::List(_)));
        if self.loops == LOOPS || self.long + long > 1 {
            let message = "a loop within a loop takes too long".to_owned();
            let help =
                "one within another is enough, and one of them must be over a list that is written out";
            return self.wrong(id, 1, message, Some(help.to_owned()));
        }
        let init = self.expression(&mut each.accu_init, depth + 1);
        self.loops += 1;
        self.long += long;
        self.scope.push((each.iter_var.clone(), element));
        self.scope.push((each.accu_var.clone(), init.clone()));
        self.expression(&mut each.loop_cond, depth + 1);
        let step = self.expression(&mut each.loop_step, depth + 1);
        // `map` begins with an empty list: what is in it is known after a step.
        let result = init.zip(step).and_then(|(init, step)| init.joined(&step));
        if let Some((_, kind)) = self.scope.last_mut() {
            kind.clone_from(&result);
        }
        let kind = self.expression(&mut each.result, depth + 1);
        self.scope.truncate(self.scope.len() - 2);
        self.loops -= 1;
        self.long -= long;
        kind
    }

    fn left_out(&mut self, id: u64, what: &str) -> Option<Kind> {
        self.wrong(id, 1, format!("{what} not understood here"), None)
    }
}

fn call(name: &str, args: Vec<IdedExpr>) -> Expr {
    Expr::Call(CallExpr { func_name: name.to_owned(), target: None, args })
}

/// The name that was probably meant.
fn nearest<'c>(name: &str, known: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    let lower = name.to_lowercase();
    known
        .map(|known| (strsim::damerau_levenshtein(&lower, &known.to_lowercase()), known))
        .filter(|(distance, known)| *distance <= 1 + known.len().min(name.len()) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}
