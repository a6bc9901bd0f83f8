use clap::ValueEnum;

/// A kind of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// `{ID, Name, Email}`
    Users,
    /// `{ID, Name, Price}`
    Products,
    /// `{ID, UserID, ProductID, Quantity, TotalPrice, Status}`
    Checkout,
}

/// How a column is written in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    Text,
    Number,
    /// A number with two decimals, kept in cents: money is not for floating point.
    Money,
}

impl Kind {
    /// Its name on the command line and in file names.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Products => "products",
            Self::Checkout => "checkout",
        }
    }

    /// Its columns besides the ID, which are its JSON fields.
    pub(crate) fn columns(self) -> &'static [(&'static str, Column)] {
        use Column::{Money, Number, Text};
        match self {
            Self::Users => &[("Name", Text), ("Email", Text)],
            Self::Products => &[("Name", Text), ("Price", Money)],
            Self::Checkout => &[
                ("UserID", Number),
                ("ProductID", Number),
                ("Quantity", Number),
                ("TotalPrice", Money),
                ("Status", Text),
            ],
        }
    }

    /// What a new file holds.
    pub(crate) fn seed(self) -> serde_json::Value {
        use serde_json::json;
        match self {
            Self::Users => json!([
                { "Name": "Ada Lovelace", "Email": "ada@example.com" },
                { "Name": "Grace Hopper", "Email": "grace@example.com" },
                { "Name": "Alan Turing", "Email": "alan@example.com" },
            ]),
            Self::Products => json!([
                { "Name": "Laptop", "Price": 999.99 },
                { "Name": "Headphones", "Price": 149.5 },
                { "Name": "Keyboard", "Price": 79.0 },
            ]),
            Self::Checkout => json!([
                { "UserID": 1, "ProductID": 1, "Quantity": 1, "TotalPrice": 999.99, "Status": "paid" },
            ]),
        }
    }
}
