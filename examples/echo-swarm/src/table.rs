//! The one table of a service: its rows as JSON objects, in SQLite.

use crate::kind::{Column, Kind};
use serde_json::{Map, Value};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteRow};
use sqlx::{AssertSqlSafe, Row};
use std::path::Path;
use std::time::Duration;

#[derive(Clone, Debug)]
pub(crate) struct Table {
    kind: Kind,
    pool: SqlitePool,
}

impl Table {
    /// Opens the file; a new one gets its table and a few rows.
    pub(crate) async fn open(kind: Kind, file: &Path) -> Result<Self, sqlx::Error> {
        // In SQLite's own journal mode: changing it fails at once, whatever the timeout, while another instance does.
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .busy_timeout(Duration::from_secs(5));
        let pool = SqlitePoolOptions::new().max_connections(4).connect_with(options).await?;
        let table = Self { kind, pool };
        let columns = kind.columns().iter().map(|(name, column)| match column {
            Column::Text => format!(", {name} TEXT NOT NULL"),
            Column::Number | Column::Money => format!(", {name} INTEGER NOT NULL"),
        });
        let columns: String = columns.collect();
        let create =
            format!("CREATE TABLE IF NOT EXISTS rows (ID INTEGER PRIMARY KEY AUTOINCREMENT{columns})");
        sqlx::query(AssertSqlSafe(create)).execute(&table.pool).await?;
        table.seed().await?;
        Ok(table)
    }

    /// Only one of several instances that open a new file at once finds it empty.
    async fn seed(&self) -> Result<(), sqlx::Error> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let count: i64 = sqlx::query("SELECT COUNT(*) FROM rows").fetch_one(&mut *transaction).await?.get(0);
        if count == 0 {
            for row in self.kind.seed().as_array().into_iter().flatten() {
                // The seed is written in this program, and fits.
                let Ok(values) = self.values(row) else { continue };
                self.insert(&values).execute(&mut *transaction).await?;
            }
        }
        transaction.commit().await
    }

    pub(crate) async fn list(&self) -> Result<Vec<Value>, sqlx::Error> {
        let rows = sqlx::query("SELECT * FROM rows ORDER BY ID").fetch_all(&self.pool).await?;
        Ok(rows.iter().map(|row| self.json(row)).collect())
    }

    pub(crate) async fn get(&self, id: i64) -> Result<Option<Value>, sqlx::Error> {
        let row = sqlx::query("SELECT * FROM rows WHERE ID = ?").bind(id).fetch_optional(&self.pool).await?;
        Ok(row.map(|row| self.json(&row)))
    }

    pub(crate) async fn create(&self, values: &[Bound]) -> Result<i64, sqlx::Error> {
        Ok(self.insert(values).execute(&self.pool).await?.last_insert_rowid())
    }

    pub(crate) async fn update(&self, id: i64, values: &[Bound]) -> Result<bool, sqlx::Error> {
        let names: Vec<String> = self.kind.columns().iter().map(|(name, _)| format!("{name} = ?")).collect();
        let update = format!("UPDATE rows SET {} WHERE ID = ?", names.join(", "));
        let done = bind(sqlx::query(AssertSqlSafe(update)), values).bind(id).execute(&self.pool).await?;
        Ok(done.rows_affected() > 0)
    }

    pub(crate) async fn delete(&self, id: i64) -> Result<bool, sqlx::Error> {
        let done = sqlx::query("DELETE FROM rows WHERE ID = ?").bind(id).execute(&self.pool).await?;
        Ok(done.rows_affected() > 0)
    }

    /// The values of a row from what a client sent, or what is wrong with it.
    pub(crate) fn values(&self, body: &Value) -> Result<Vec<Bound>, String> {
        let body = body.as_object().ok_or("the body is not a JSON object")?;
        let known =
            |name: &String| name == "ID" || self.kind.columns().iter().any(|(known, _)| known == name);
        if let Some(name) = body.keys().find(|name| !known(name)) {
            return Err(format!("there is no field `{name}`"));
        }
        let value = |(name, column): &(&str, Column)| {
            let value = body.get(*name).ok_or_else(|| format!("the field `{name}` is missing"))?;
            let wrong = |expected| format!("the field `{name}` is {value}; expected {expected}");
            match column {
                Column::Text => {
                    value.as_str().map(|text| Bound::Text(text.to_owned())).ok_or_else(|| wrong("a text"))
                }
                Column::Number => value.as_i64().map(Bound::Number).ok_or_else(|| wrong("a whole number")),
                Column::Money => value
                    .as_f64()
                    .filter(|amount| (0.0..1e12).contains(amount))
                    .map(|amount| Bound::Number((amount * 100.0).round() as i64))
                    .ok_or_else(|| wrong("an amount")),
            }
        };
        self.kind.columns().iter().map(value).collect()
    }

    fn insert<'q>(&self, values: &'q [Bound]) -> Query<'q> {
        let names: Vec<&str> = self.kind.columns().iter().map(|(name, _)| *name).collect();
        let places = vec!["?"; names.len()].join(", ");
        let insert = format!("INSERT INTO rows ({}) VALUES ({places})", names.join(", "));
        bind(sqlx::query(AssertSqlSafe(insert)), values)
    }

    fn json(&self, row: &SqliteRow) -> Value {
        let mut object = Map::new();
        object.insert("ID".to_owned(), row.get::<i64, _>("ID").into());
        for (name, column) in self.kind.columns() {
            let value: Value = match column {
                Column::Text => row.get::<String, _>(*name).into(),
                Column::Number => row.get::<i64, _>(*name).into(),
                Column::Money => (row.get::<i64, _>(*name) as f64 / 100.0).into(),
            };
            object.insert((*name).to_owned(), value);
        }
        object.into()
    }
}

/// A value on its way into the table.
#[derive(Clone, Debug)]
pub(crate) enum Bound {
    Text(String),
    Number(i64),
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

fn bind<'q>(query: Query<'q>, values: &'q [Bound]) -> Query<'q> {
    values.iter().fold(query, |query, value| match value {
        Bound::Text(text) => query.bind(text.as_str()),
        Bound::Number(number) => query.bind(*number),
    })
}
