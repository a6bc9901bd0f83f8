//! With the feature.

mod decisions;
mod mistakes;
mod told;

use super::EXE;
use gateway_testkit::{Client, Gateway, GatewayBuilder, Request, Response};
use std::process::Command;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);

const SCHEMA: &str = r#"
entity Team in [Team];
entity User in [Team] {
    id: String, method: String, roles: Set<String>, scopes: Set<String>,
    tenant?: String, level?: Long,
};
entity Section;
entity Route in [Section] { path: String, service: String, host: String };
action read;
action GET, HEAD in [read] appliesTo { principal: User, resource: Route, context: Seen };
action POST, DELETE appliesTo { principal: User, resource: Route, context: Seen };
type Seen = { ip?: ipaddr, time: Long, headers: { x_tenant?: String }, params: { tenant?: String } };
"#;

const POLICIES: &str = r#"
@id("readers")
permit(principal, action in Action::"read", resource) when { principal.scopes.contains("read") };

@id("editors")
permit(principal, action == Action::"POST", resource == Route::"orders")
when { principal.roles.contains("editor") && resource.service == "a" };

@id("ops")
permit(principal in Team::"ops", action, resource in Section::"back");

@id("own-tenant")
permit(principal, action == Action::"DELETE", resource)
when { principal has tenant && context.params has tenant && principal.tenant == context.params.tenant };

@id("by-header")
permit(principal, action == Action::"DELETE", resource)
when { principal has tenant && context.headers has x_tenant && principal.tenant == context.headers.x_tenant };

@id("suspended")
forbid(principal, action, resource) when { principal has level && principal.level + 1 <= 0 };

@id("guests")
forbid(principal, action, resource) when { context has ip && context.ip.isInRange(ip("203.0.113.0/24")) };

forbid(principal, action, resource) when { resource.path like "/orders/internal*" };
"#;

const ENTITIES: &str = r#"[
  { "uid": { "type": "Team", "id": "ops" }, "attrs": {}, "parents": [{ "type": "Team", "id": "staff" }] },
  { "uid": { "type": "Team", "id": "staff" }, "attrs": {}, "parents": [] },
  { "uid": { "type": "User", "id": "olga" },
    "attrs": { "id": "olga", "method": "", "roles": [], "scopes": [] },
    "parents": [{ "type": "Team", "id": "ops" }] },
  { "uid": { "type": "Route", "id": "orders" },
    "attrs": { "path": "", "service": "", "host": "" },
    "parents": [{ "type": "Section", "id": "back" }] },
  { "uid": { "type": "Section", "id": "back" }, "attrs": {}, "parents": [] }
]"#;

/// `more` stands in the table of the policies, `route` in that of the route.
fn config(more: &str, route: &str) -> String {
    format!(
        "access_log = \"@DIR@/access.log\"\nforwarded.trusted_proxies = [\"127.0.0.0/8\"]\n\
         [server]\nlisten = \"127.0.0.1:@PORT@\"\nworkers = 1\n[admin]\nlisten = \"127.0.0.1:@ADMIN@\"\n\
         [services.a]\nendpoints = [\"http://127.0.0.1:1\"]\n\
         [auth.jwt.shop]\nsecret = \"a secret for tests, 32 bytes long\"\naudience = \"shop\"\n\
         [cedar.shop]\npolicies = \"orders.cedar\"\nschema = \"shop.cedarschema\"\nentities = \"entities.json\"\n\
         claims = [\"tenant\", \"level\"]\nheaders = [\"X-Tenant\"]\nparams = [\"tenant\"]\n{more}\n\
         [[routes]]\nname = \"orders\"\npath = \"/orders/*\"\nservice = \"a\"\nauth = {{ methods = [\"shop\"], optional = true }}\n\
         fallback = {{ respond = \"fell back\" }}\nauthorize = {{ cedar = \"shop\" }}\n{route}\n\
         [[routes]]\nname = \"of-tenant\"\npath = \"/tenants/{{tenant}}\"\nrespond = \"ok\"\nauth = \"shop\"\nauthorize = {{ cedar = \"shop\" }}\n"
    )
}

fn files(config: &str, policies: &str) -> GatewayBuilder {
    Gateway::builder(EXE)
        .config(config)
        .file("orders.cedar", policies)
        .file("shop.cedarschema", SCHEMA)
        .file("entities.json", ENTITIES)
}

fn gateway(more: &str, route: &str) -> Gateway {
    files(&config(more, route), POLICIES).start()
}

/// A token with these claims.
fn token(gateway: &Gateway, claims: &[&str]) -> String {
    let mut command = Command::new(EXE);
    command.args(["token", "--auth", "shop", "--claim", "aud=shop", "--config"]);
    command.arg(gateway.dir().join("gateway.toml"));
    for claim in claims {
        command.args(["--claim", claim]);
    }
    let made = command.output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).unwrap().trim().to_owned()
}

/// Asks with a token of these claims, or as nobody.
fn ask(gateway: &Gateway, method: &str, path: &str, claims: &[&str], headers: &[(&str, &str)]) -> Response {
    let mut request = headers.iter().fold(Request::new(method, path), |request, (n, v)| request.header(n, v));
    if !claims.is_empty() {
        request = request.header("Authorization", &format!("Bearer {}", token(gateway, claims)));
    }
    Client::new(gateway.addr()).send(&request)
}

/// So many lines of the access log, once they are there.
fn logged(gateway: &Gateway, count: usize) -> Vec<serde_json::Value> {
    gateway_testkit::wait_until("the log", SOON, || {
        let lines = gateway.access_log();
        (lines.len() >= count).then_some(lines)
    })
}

fn logged_now(gateway: &Gateway) -> Vec<serde_json::Value> {
    gateway.access_log()
}
