//! Variables, and the names in maps.

use super::{Checker, Kind, call, nearest};
use crate::when::kind::VARIABLES;
use cel::common::ast::{Expr, IdedExpr, LiteralValue, operators};
use std::mem::take;

impl Checker<'_> {
    /// The names of `a.b.c` from the left, unless the first is that of a loop.
    pub(super) fn path(&self, expression: &IdedExpr) -> Option<Vec<String>> {
        let (mut path, mut expression) = (Vec::new(), &expression.expr);
        loop {
            match expression {
                Expr::Select(select) if !select.test => {
                    path.push(select.field.clone());
                    expression = &select.operand.expr;
                }
                Expr::Ident(name) if self.local(name).is_none() => {
                    path.push(name.clone());
                    path.reverse();
                    return Some(path);
                }
                _ => return None,
            }
        }
    }

    /// The type of a loop's name, and whether there is such a name.
    pub(super) fn local(&self, name: &str) -> Option<Option<Kind>> {
        self.scope.iter().rev().find(|(known, _)| known == name).map(|(_, kind)| kind.clone())
    }

    /// The type of a variable, whose name is put into one piece, or of what a map has by a name.
    pub(super) fn variable(&mut self, expression: &mut IdedExpr, path: &[String]) -> Option<Kind> {
        let whole = path.join(".");
        let known = |name: &str| VARIABLES.iter().find(|(known, _)| *known == name);
        if let Some((name, kind)) = known(&whole) {
            expression.expr = Expr::Ident((*name).to_owned());
            return Some(kind.clone());
        }
        let (start, length) = (self.start(expression), whole.chars().count());
        let (key, map) = path.split_last()?;
        let map = map.join(".");
        if let Some((name, kind)) = known(&map) {
            if *kind != Kind::Map {
                return self.wrong_at(start, length, format!("`{name}` is {kind} and has no `.{key}`"), None);
            }
            let id = expression.id;
            let of = IdedExpr { id, expr: Expr::Ident((*name).to_owned()) };
            let key = IdedExpr { id, expr: Expr::Literal(LiteralValue::String(key.clone().into())) };
            self.key(&of, &key);
            expression.expr = call(operators::INDEX, vec![of, key]);
            return Some(Kind::Text);
        }
        let names = || VARIABLES.iter().map(|(name, _)| *name);
        let within: Vec<&str> = names().filter(|name| name.starts_with(&format!("{whole}."))).collect();
        if !within.is_empty() {
            let message = format!("`{whole}` by itself is no variable");
            return self.wrong_at(start, length, message, Some(format!("there are {}", within.join(", "))));
        }
        let ends = names().filter(|name| name.rsplit('.').next() == Some(&whole));
        let meant = ends.chain(nearest(&whole, names())).next();
        // What follows a map is one of its names.
        let meant = meant.or_else(|| {
            nearest(&map, names()).filter(|name| known(name).is_some_and(|(_, kind)| *kind == Kind::Map))
        });
        let help = match meant {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => {
                format!("the variables are {}; texts stand in quotes", names().collect::<Vec<_>>().join(", "))
            }
        };
        self.wrong_at(start, length, format!("there is no variable `{whole}`"), Some(help))
    }

    /// `has(a.b)`, or a field of what is no variable.
    pub(super) fn select(&mut self, expression: &mut IdedExpr, depth: usize) -> Option<Kind> {
        let id = expression.id;
        let Expr::Select(select) = &mut expression.expr else { return None };
        let (test, field) = (select.test, select.field.clone());
        if test && self.path(&select.operand).is_some_and(|path| path.len() == 1) {
            let help = "such as `has(request.headers.host)`".to_owned();
            return self.wrong(id, 3, "`has` asks for a name in a map".to_owned(), Some(help));
        }
        match self.expression(&mut select.operand, depth + 1)? {
            Kind::Map => {
                let of = take(&mut *select.operand);
                let key = IdedExpr { id, expr: Expr::Literal(LiteralValue::String(field.into())) };
                self.key(&of, &key);
                let (called, kind) = if test {
                    (call(operators::IN, vec![key, of]), Kind::Bool)
                } else {
                    (call(operators::INDEX, vec![of, key]), Kind::Text)
                };
                expression.expr = called;
                Some(kind)
            }
            kind => self.wrong(id, 1, format!("{kind} has no `.{field}`"), None),
        }
    }

    /// Header fields have their names in lower case.
    pub(super) fn key(&mut self, of: &IdedExpr, key: &IdedExpr) {
        let (Expr::Ident(of), Expr::Literal(LiteralValue::String(name))) = (&of.expr, &key.expr) else {
            return;
        };
        let name = name.inner();
        if of == "request.headers" && name.bytes().any(|b| b.is_ascii_uppercase()) {
            let help = format!("write `{}`", name.to_ascii_lowercase());
            let message = format!("`{name}` is never there: names of headers are in lower case here");
            self.wrong(key.id, name.chars().count() + 2, message, Some(help));
        }
    }
}
