//! Variables, and the names in maps.

use super::{Checker, Kind, Scope, call, nearest};
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
        let (whole, about) = (path.join("."), self.about);
        let known = |name: &str| about.variables().find(|(known, _)| *known == name);
        if let Some((name, kind)) = known(&whole) {
            expression.expr = Expr::Ident((*name).to_owned());
            return Some(kind.clone());
        }
        let (start, length) = (self.start(expression), whole.chars().count());
        let (map, key) = self.of_claims(path).unwrap_or_else(|| path.split_at(path.len() - 1));
        let (map, key) = (map.join("."), key.join("."));
        if let Some((name, kind)) = known(&map) {
            let Some(found) = kind.of_key() else {
                return self.wrong_at(start, length, format!("`{name}` is {kind} and has no `.{key}`"), None);
            };
            let id = expression.id;
            let of = IdedExpr { id, expr: Expr::Ident((*name).to_owned()) };
            let key = IdedExpr { id, expr: Expr::Literal(LiteralValue::String(key.into())) };
            self.key(&of, &key);
            expression.expr = call(operators::INDEX, vec![of, key]);
            return Some(found);
        }
        if about == Scope::Request && path.first().is_some_and(|first| first == "principal") {
            let help = "who calls is not known yet when a route is looked for".to_owned();
            return self.wrong_at(start, length, format!("there is no variable `{whole}` here"), Some(help));
        }
        let names = || about.variables().map(|(name, _)| *name);
        let within: Vec<&str> = names().filter(|name| name.starts_with(&format!("{whole}."))).collect();
        if !within.is_empty() {
            let message = format!("`{whole}` by itself is no variable");
            return self.wrong_at(start, length, message, Some(format!("there are {}", within.join(", "))));
        }
        let ends = names().filter(|name| name.rsplit('.').next() == Some(&whole));
        let meant = ends.chain(nearest(&whole, names())).next();
        // What follows a map is one of its names.
        let meant = meant.or_else(|| {
            nearest(&map, names()).filter(|name| known(name).is_some_and(|(_, kind)| kind.is_map()))
        });
        let help = match meant {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => {
                format!("the variables are {}; texts stand in quotes", names().collect::<Vec<_>>().join(", "))
            }
        };
        self.wrong_at(start, length, format!("there is no variable `{whole}`"), Some(help))
    }

    /// A path into claims, which have others within: the map, and the path in it.
    fn of_claims<'p>(&self, path: &'p [String]) -> Option<(&'p [String], &'p [String])> {
        let is_claims = self.about == Scope::Caller
            && matches!(path, [of, map, _, ..] if of == "principal" && (map == "claims" || map == "lists"));
        is_claims.then(|| path.split_at(2))
    }

    /// `has(a.b)`, or a field of what is no variable.
    pub(super) fn select(&mut self, expression: &mut IdedExpr, depth: usize) -> Option<Kind> {
        let id = expression.id;
        let Expr::Select(select) = &mut expression.expr else { return None };
        let (test, mut field) = (select.test, select.field.clone());
        let path = self.path(&select.operand).filter(|_| test).unwrap_or_default();
        if path.len() == 1 {
            let help = "such as `has(request.headers.host)`".to_owned();
            return self.wrong(id, 3, "`has` asks for a name in a map".to_owned(), Some(help));
        }
        if let Some((map, within)) = self.of_claims(&path) {
            field = format!("{}.{field}", within.join("."));
            select.operand.expr = Expr::Ident(map.join("."));
        }
        match self.expression(&mut select.operand, depth + 1)? {
            of_map if of_map.is_map() => {
                let of = take(&mut *select.operand);
                let key = IdedExpr { id, expr: Expr::Literal(LiteralValue::String(field.into())) };
                self.key(&of, &key);
                let (called, kind) = if test {
                    (call(operators::IN, vec![key, of]), Some(Kind::Bool))
                } else {
                    (call(operators::INDEX, vec![of, key]), of_map.of_key())
                };
                expression.expr = called;
                kind
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
