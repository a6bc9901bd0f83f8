//! The interface as an OpenAPI 3.1 document, made for the paths that are served.

use super::sessions::{SessionList, TokenAnswer};
use crate::{IdentitySettings, Paths, Preset, Session, User, UserPage};
use bytes::Bytes;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, OpenApiBuilder, PathItem, PathsBuilder, Ref, Required,
    ResponseBuilder,
};
use utoipa::{PartialSchema, ToSchema};

/// An account to open. Other fields than these count as fields of the profile.
#[derive(ToSchema)]
#[allow(dead_code)]
struct NewAccount {
    email: String,
    username: Option<String>,
    #[schema(write_only)]
    password: String,
    #[schema(value_type = Object)]
    profile: Option<()>,
    /// For administrators.
    roles: Option<Vec<String>>,
    /// For administrators.
    disabled: Option<bool>,
}

/// What of an account changes. Other fields than these count as fields of the profile.
#[derive(ToSchema)]
#[allow(dead_code)]
struct AccountChange {
    email: Option<String>,
    username: Option<String>,
    /// For administrators; everybody else changes the own one with the current one.
    #[schema(write_only)]
    password: Option<String>,
    #[schema(value_type = Object)]
    profile: Option<()>,
    /// For administrators.
    roles: Option<Vec<String>>,
    /// For administrators.
    disabled: Option<bool>,
}

/// Who begins a session; `email` or `username`.
#[derive(ToSchema)]
#[allow(dead_code)]
struct Login {
    email: Option<String>,
    username: Option<String>,
    #[schema(write_only)]
    password: String,
    /// `password`, where it is given.
    grant_type: Option<String>,
}

/// What renews a session.
#[derive(ToSchema)]
#[allow(dead_code)]
struct Renewal {
    refresh_token: String,
}

/// A token whose session is to end (RFC 7009).
#[derive(ToSchema)]
#[allow(dead_code)]
struct Revocation {
    token: String,
    token_type_hint: Option<String>,
}

/// A password and the one that takes its place.
#[derive(ToSchema)]
#[allow(dead_code)]
struct PasswordChange {
    current_password: String,
    new_password: String,
}

/// Why there is no other answer (RFC 9457).
#[derive(ToSchema)]
#[allow(dead_code)]
struct Problem {
    r#type: String,
    title: String,
    status: u16,
    detail: String,
    code: String,
}

/// One operation as the table below has it.
struct Row<'a> {
    method: HttpMethod,
    path: &'a str,
    below: &'static str,
    id: &'static str,
    summary: &'static str,
    body: Option<&'static str>,
    /// The status of success, and what is answered.
    answer: (&'static str, Option<&'static str>),
    /// Whether an access token is asked for.
    bearer: bool,
}

pub(super) fn document(settings: &IdentitySettings, paths: &Paths) -> Bytes {
    let mut items = PathsBuilder::new();
    for row in rows(paths).into_iter().filter(|row| !row.path.is_empty()) {
        let path = format!("{}{}", row.path, row.below);
        let by_id = [&paths.logout, &paths.revoke].iter().any(|named| named.as_str() == path);
        let operation = operation(&row, by_id.then_some(settings.preset));
        items = items.path(path, PathItem::new(row.method, operation));
    }
    let components = ComponentsBuilder::new()
        .schema_from::<NewAccount>()
        .schema_from::<AccountChange>()
        .schema_from::<Login>()
        .schema_from::<Renewal>()
        .schema_from::<Revocation>()
        .schema_from::<PasswordChange>()
        .schema_from::<Problem>()
        .schema_from::<TokenAnswer<'_>>()
        .schema_from::<SessionList>()
        .schema_from::<Session>()
        .schema_from::<User>()
        .schema_from::<UserPage>()
        .security_scheme(
            "bearer",
            SecurityScheme::Http(
                HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build(),
            ),
        );
    let info = InfoBuilder::new().title("Accounts and sessions").version(env!("CARGO_PKG_VERSION"));
    let document = OpenApiBuilder::new().info(info).paths(items).components(Some(components.build())).build();
    // Texts and maps always serialise.
    serde_json::to_vec(&document).unwrap_or_default().into()
}

fn operation(row: &Row<'_>, by_id: Option<Preset>) -> OperationBuilder {
    let content = |schema: &str| ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).build();
    let (status, answer) = row.answer;
    let mut success = ResponseBuilder::new().description("Done");
    if let Some(schema) = answer {
        success = success.content("application/json", content(schema));
    }
    let failure = ResponseBuilder::new()
        .description("Why there is no other answer")
        .content("application/problem+json", content("Problem"));
    let mut operation = OperationBuilder::new()
        .operation_id(Some(row.id))
        .summary(Some(row.summary))
        .response(status, success.build())
        .response("default", failure.build());
    if let Some(schema) = row.body {
        let body = RequestBodyBuilder::new()
            .content("application/json", content(schema))
            .content("application/x-www-form-urlencoded", content(schema))
            .required(Some(Required::True));
        operation = operation.request_body(Some(body.build()));
    }
    if row.bearer {
        operation = operation.security(SecurityRequirement::new("bearer", Vec::<String>::new()));
    }
    let text = || Some(String::schema());
    if row.below.contains("{id}") {
        let id = ParameterBuilder::new().name("id").parameter_in(ParameterIn::Path);
        operation = operation.parameter(id.required(Required::True).schema(text()));
    }
    if let Some(preset) = by_id {
        let required = if preset == Preset::S1 { Required::True } else { Required::False };
        let id = ParameterBuilder::new().name("id").parameter_in(ParameterIn::Query);
        let id = id.description(Some("The session that is to end")).required(required);
        operation = operation.parameter(id.schema(text()));
    }
    if row.answer.1 == Some("UserPage") {
        for (name, description) in
            [("after", "The last account of the page before"), ("limit", "1 to 500; 50 where absent")]
        {
            let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Query);
            let parameter = parameter.description(Some(description)).required(Required::False);
            operation = operation.parameter(parameter.schema(text()));
        }
    }
    operation
}

fn rows(p: &Paths) -> Vec<Row<'_>> {
    use HttpMethod::{Delete, Get, Patch, Post, Put};
    let row = |method, path, id, summary, body, answer, bearer| Row {
        method,
        path,
        below: "",
        id,
        summary,
        body,
        answer,
        bearer,
    };
    let under = |below, row| Row { below, ..row };
    let (tokens, user, done) =
        (("200", Some("TokenAnswer")), ("200", Some("User")), ("204", None::<&'static str>));
    let made = ("201", Some("User"));
    let list = ("200", Some("SessionList"));
    let change = Some("AccountChange");
    vec![
        row(Post, p.register.as_str(), "register", "Opens an account", Some("NewAccount"), made, false),
        row(Post, &p.login, "login", "Begins a session", Some("Login"), tokens, false),
        row(Post, &p.refresh, "refresh", "Renews a session", Some("Renewal"), tokens, false),
        row(Post, &p.logout, "logout", "Ends a session", None, done, true),
        row(
            Post,
            &p.revoke,
            "revoke",
            "Ends the session of a token",
            Some("Revocation"),
            ("200", None),
            false,
        ),
        row(Get, &p.sessions, "sessions", "Lists the own sessions", None, list, true),
        row(Delete, &p.sessions, "endSessions", "Ends all own sessions", None, done, true),
        under("/{id}", row(Delete, &p.sessions, "endSession", "Ends one session", None, done, true)),
        row(Get, &p.me, "me", "Reads the own account", None, user, true),
        row(Put, &p.me, "replaceMe", "Replaces the own profile", change, user, true),
        row(Patch, &p.me, "changeMe", "Changes the own account", change, user, true),
        row(Delete, &p.me, "removeMe", "Removes the own account", None, done, true),
        row(
            Post,
            &p.password,
            "changePassword",
            "Changes the own password",
            Some("PasswordChange"),
            done,
            true,
        ),
        row(Get, &p.users, "users", "Lists accounts", None, ("200", Some("UserPage")), true),
        row(Post, &p.users, "createUser", "Opens an account for somebody", Some("NewAccount"), made, true),
        under("/{id}", row(Get, &p.users, "user", "Reads an account", None, user, true)),
        under("/{id}", row(Put, &p.users, "replaceUser", "Replaces a profile", change, user, true)),
        under("/{id}", row(Patch, &p.users, "changeUser", "Changes an account", change, user, true)),
        under("/{id}", row(Delete, &p.users, "removeUser", "Removes an account", None, done, true)),
        under(
            "/{id}/sessions",
            row(Get, &p.users, "sessionsOf", "Lists a user's sessions", None, list, true),
        ),
        under(
            "/{id}/sessions",
            row(Delete, &p.users, "endSessionsOf", "Ends a user's sessions", None, done, true),
        ),
        row(Get, &p.jwks, "jwks", "The keys that verify tokens", None, ("200", None), false),
        row(Get, &p.discovery, "discovery", "The issuer", None, ("200", None), false),
    ]
}
