//! An expression that can be asked.

use super::check::check;
use super::kind::Scope;
use super::parse::parse;
use super::variables::Variables;
use super::{When, WhenMistake};
use crate::request::Head;
use cel::common::ast::IdedExpr;
use cel::common::types::{self, CelBool, CelString, Type};
use cel::common::value::{CowVal, StaticVal, Val};
use cel::{Context, DeclarationError, Env, ExecutionError, Value};
use regex::bytes::Regex;
use std::sync::{Arc, LazyLock};

/// A regular expression that stands in an expression.
#[derive(Clone, Debug)]
struct Pattern(Regex);

static PATTERN: LazyLock<Type> = LazyLock::new(|| Type::new_opaque_type("pattern"));

/// What can be called: the standard library, of which the [check](super::check) lets some pass, and what is ours.
static LIBRARY: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut library = Env::default().with_optional_support(false).with_stdlib();
    // That the names are free is seen by the tests; where they were not, what calls them would not hold.
    let _ = declare(&mut library);
    Arc::new(library)
});

fn declare(library: &mut Env) -> Result<(), DeclarationError> {
    let (on, pattern) = (|| types::STRING_TYPE, Type::new_opaque_type(PATTERN.name()));
    library.add_member_overload("matches", "string_pattern", on(), vec![pattern], |of| matches(&of))?;
    library.add_member_overload("lowerAscii", "string_lower_ascii", on(), Vec::new(), |of| {
        changed(&of, str::to_ascii_lowercase)
    })?;
    library.add_member_overload("upperAscii", "string_upper_ascii", on(), Vec::new(), |of| {
        changed(&of, str::to_ascii_uppercase)
    })
}

type Called<'b, 'v> = Result<CowVal<'b, 'v>, ExecutionError>;

fn matches<'b, 'v>(of: &[CowVal<'_, '_>]) -> Called<'b, 'v> {
    let pattern = of.get(1).and_then(|pattern| pattern.downcast_ref::<Pattern>());
    let pattern = pattern.ok_or_else(ExecutionError::missing_argument_or_target)?;
    Ok(CowVal::owned(CelBool::from(pattern.0.is_match(text(of)?.as_bytes()))))
}

fn changed<'b, 'v>(of: &[CowVal<'_, '_>], change: impl Fn(&str) -> String) -> Called<'b, 'v> {
    Ok(CowVal::owned(CelString::from(change(text(of)?))))
}

/// What a function is called on.
fn text<'b>(of: &'b [CowVal<'_, '_>]) -> Result<&'b str, ExecutionError> {
    let text = of.first().and_then(|text| text.downcast_ref::<CelString<'_>>());
    text.map(CelString::inner).ok_or_else(ExecutionError::missing_argument_or_target)
}

impl Val for Pattern {
    fn get_type(&self) -> &Type {
        &PATTERN
    }

    fn cel_type() -> &'static Type {
        &PATTERN
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn std::any::Any> {
        Some(self)
    }
}

impl StaticVal for Pattern {}

/// An expression, read and checked.
#[derive(Clone)]
pub(super) struct Program(Arc<Checked>);

struct Checked {
    text: Box<str>,
    expression: IdedExpr,
    variables: Vec<&'static str>,
    /// The library, and the patterns of this expression.
    context: Context<'static, 'static>,
}

impl Program {
    pub(super) fn new(text: &str, about: Scope) -> Result<Self, Vec<WhenMistake>> {
        if text.len() > When::LONGEST {
            let message = format!("it has {} bytes; expected at most {}", text.len(), When::LONGEST);
            return Err(vec![WhenMistake { line: 1, column: 1, length: 1, message, help: None }]);
        }
        let (expression, patterns) = parse(text, |expression, source| check(about, expression, source))?;
        let mut context = Context::with_env(LIBRARY.clone());
        for (name, regex) in patterns {
            context.add_variable_as_val(name, Box::new(Pattern(regex)));
        }
        let names = expression.references();
        let variables =
            about.variables().map(|(name, _)| *name).filter(|name| names.has_variable(name)).collect();
        drop(names);
        Ok(Self(Arc::new(Checked { text: text.into(), expression, variables, context })))
    }

    pub(super) fn text(&self) -> &str {
        &self.0.text
    }

    pub(super) fn variables(&self) -> &[&'static str] {
        &self.0.variables
    }

    /// Tells whether it holds for a request, or what failed.
    pub(super) fn ask<R>(&self, head: &Head<'_>, tell: impl FnOnce(Result<bool, ExecutionError>) -> R) -> R {
        let variables = Variables::of(head);
        let mut context = self.0.context.new_inner_scope();
        context.set_variable_resolver(&variables);
        tell(Value::resolve_val(&self.0.expression, &context).and_then(|value| {
            let holds = value.downcast_ref::<CelBool>().map(|holds| *holds.inner());
            holds.ok_or_else(|| ExecutionError::UnexpectedType {
                got: value.get_type().name().to_owned(),
                want: "bool".to_owned(),
            })
        }))
    }
}
