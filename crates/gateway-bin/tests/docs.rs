//! What the documentation says is what the binary does.
#![allow(clippy::unwrap_used)]

use gateway_testkit::{Finished, Gateway};

fn said(args: &[&str]) -> String {
    let Finished { code, stdout, stderr } = Gateway::builder(env!("CARGO_BIN_EXE_gateway")).args(args).run();
    assert_eq!(code, Some(0), "{stderr}");
    stdout
}

#[test]
fn the_reference_of_all_keys_is_up_to_date() {
    let reference = said(&["schema", "--format", "md"]);
    let written = include_str!("../../../docs/configuration.md");
    assert!(written == reference, "run `gateway schema --format md > docs/configuration.md`");
    for key in
        ["server.listen", "services.NAME.endpoints[].weight", "routes[].cors.origins", "store.redis.url"]
    {
        assert!(reference.contains(&format!("| `{key}` | ")), "no `{key}` in\n{reference}");
    }
    let undocumented: Vec<&str> =
        reference.lines().filter(|line| line.starts_with("| `") && line.ends_with("|  |")).collect();
    assert!(undocumented.is_empty(), "{undocumented:#?}");
}

#[test]
fn editors_get_a_schema_that_a_configuration_may_name() {
    let schema: serde_json::Value = serde_json::from_str(&said(&["schema"])).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["title"], "Gateway configuration");
    assert_eq!(schema["additionalProperties"], false);
    assert_eq!(schema["properties"]["$schema"]["type"], serde_json::json!(["string", "null"]));
    let pointers = schema.to_string();
    let pointers = pointers.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next());
    let dangling: Vec<&str> = pointers.filter(|pointer| schema.pointer(pointer).is_none()).collect();
    assert!(dangling.is_empty(), "{dangling:?}");

    let route =
        r#""services": { "a": { "endpoints": ["http://x"] } }, "routes": [{ "path": "/*", "service": "a" }]"#;
    let checked = Gateway::builder(env!("CARGO_BIN_EXE_gateway"))
        .file("gateway.json", &format!(r#"{{ "$schema": "./gateway.schema.json", {route} }}"#))
        .args(&["check", "--config", "gateway.json"])
        .run();
    assert_eq!((checked.code, checked.stderr.as_str()), (Some(0), ""));
}

#[test]
fn every_code_is_explained() {
    let pages = include_str!("../../../docs/errors.md");
    for line in said(&["codes"]).lines() {
        let mut words = line.split_whitespace();
        let (name, status) = (words.next().unwrap(), words.next().unwrap());
        let row = pages.lines().find(|row| row.starts_with(&format!("| `{name}` | {status} | ")));
        let row = row.unwrap_or_else(|| panic!("docs/errors.md does not explain {name}"));
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [.., cause, remedy] = cells[..] else { panic!("{row}") };
        assert!(cells.len() == 6 && !cause.is_empty() && !remedy.is_empty(), "{row}");
    }
}

#[test]
fn the_readmes_configuration_has_no_mistakes() {
    let readme = include_str!("../../../README.md");
    let config = readme.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let checked = Gateway::builder(env!("CARGO_BIN_EXE_gateway"))
        .config(config)
        .env("JWT_SECRET", "a secret for tests, 32 bytes long")
        .args(&["check"])
        .run();
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
}

#[test]
fn routes_are_shown_as_text_markdown_and_json() {
    let readme = include_str!("../../../README.md");
    let config = readme.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    for (format, parts) in [
        (
            "text",
            vec!["/api/products/*  *        products", "auth=shop rate-limit=standard strip=/api/products"],
        ),
        ("md", vec!["| HOST | PATH |", "| * | /api/products/* | * | products |"]),
        ("json", vec!["\"path\": \"/api/products/*\"", "\"auth\": [\n      \"shop\""]),
    ] {
        let shown = Gateway::builder(env!("CARGO_BIN_EXE_gateway"))
            .config(config)
            .env("JWT_SECRET", "a secret for tests, 32 bytes long")
            .args(&["routes", "--format", format])
            .run();
        for part in parts {
            assert!(shown.stdout.contains(part), "no `{part}` in\n{}", shown.stdout);
        }
    }
}

#[test]
fn the_explanation_in_the_documentation_is_a_real_one() {
    let config = r#"[services.users]
endpoints = ["http://127.0.0.1:3002", "http://127.0.0.1:3004"]
timeout = "5s"

[auth.jwt.shop]
secret = "${JWT_SECRET}"
audience = "shop"

[groups.api]
auth = "shop"

[[routes]]
path = "/api/*"
service = "users"

[[routes]]
path = "/api/users/{id}"
service = "users"
strip = "/api"
group = "api"

[[routes]]
path = "/api/users/{id}"
service = "users"
match = { headers = { x-tenant = "acme" } }
"#;
    let explained = Gateway::builder(env!("CARGO_BIN_EXE_gateway"))
        .config(config)
        .env("JWT_SECRET", "a secret for tests, 32 bytes long")
        .args(&["explain", "GET", "http://shop.example/api/users/7"])
        .run();
    let page = include_str!("../../../docs/operations.md");
    let (_, written) = page.split_once("$ gateway explain GET http://shop.example/api/users/7\n").unwrap();
    let (written, _) = written.split_once("```").unwrap();
    // The id is another one each time.
    let without_id = |text: &str| -> String {
        let lines = text.lines().filter(|line| !line.contains("x-correlation-id: "));
        lines.map(|line| format!("{line}\n")).collect()
    };
    assert_eq!(without_id(&explained.stdout), without_id(written));
}

/// The examples of a page. What an example leaves out is added: services that its routes name, and a route.
fn examples(page: &str) -> Vec<String> {
    let blocks = page.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let whole = blocks.map(|block| {
        let mut config = block.to_owned();
        if !block.contains("[[routes]]") {
            let service = block.split("[services.").nth(1).and_then(|rest| rest.split([']', '.']).next());
            let service = service.unwrap_or("api");
            config += &format!("\n[[routes]]\npath = \"/*\"\nservice = \"{service}\"\n");
        }
        let named: Vec<&str> =
            config.split("\nservice = \"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        let named: std::collections::BTreeSet<String> = named.into_iter().map(str::to_owned).collect();
        for name in named.iter().filter(|name| !block.contains(&format!("[services.{name}]"))) {
            config += &format!("\n[services.{name}]\nendpoints = [\"http://127.0.0.1:3001\"]\n");
        }
        config
    });
    whole.collect()
}

/// The operators' pages, and how many examples each has at least.
const PAGES: [(&str, &str, usize); 11] = [
    ("deployment.md", include_str!("../../../docs/deployment.md"), 3),
    ("migrating.md", include_str!("../../../docs/migrating.md"), 3),
    ("routing.md", include_str!("../../../docs/routing.md"), 8),
    ("balancing.md", include_str!("../../../docs/balancing.md"), 8),
    ("resilience.md", include_str!("../../../docs/resilience.md"), 6),
    ("authentication.md", include_str!("../../../docs/authentication.md"), 10),
    ("accounts.md", include_str!("../../../docs/accounts.md"), 4),
    ("rate-limiting.md", include_str!("../../../docs/rate-limiting.md"), 6),
    ("caching.md", include_str!("../../../docs/caching.md"), 3),
    ("protocols.md", include_str!("../../../docs/protocols.md"), 2),
    ("operations.md", include_str!("../../../docs/operations.md"), 2),
];

/// Of the password `secret`, cheaply.
const USER: &str = "ada:$2y$04$abcdefghijklmnopqrstuuiPOLDaUJALTlEAQMDBJCFFQMIWMFUjO\n";

const KEYS: &str = r#"[[keys]]
id = "acme"
hash = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
"#;

#[test]
fn every_example_in_the_operators_pages_is_a_configuration_without_mistakes() {
    for (page, text, at_least) in PAGES {
        let examples = examples(text);
        assert!(examples.len() >= at_least, "{page} has {} examples", examples.len());
        for example in examples {
            let lacks_cedar = example.contains("[cedar.") && cfg!(not(feature = "cedar"));
            let is_cel = example.contains("match.when") || example.contains("by.expressions");
            let lacks_cel = is_cel && cfg!(not(feature = "cel"));
            if lacks_cedar || lacks_cel {
                continue;
            }
            let block = |language: &str| text.split(&format!("```{language}\n")).nth(1).unwrap_or_default();
            let block = |language: &str| block(language).split("```").next().unwrap_or_default();
            let mut gateway = Gateway::builder(env!("CARGO_BIN_EXE_gateway"))
                .config(&example)
                .file("maintenance.html", "<p>Back soon.")
                .file("staff.htpasswd", USER)
                .file("partners.toml", KEYS)
                .file("redis-password", "a secret for tests\n")
                .file("orders.cedar", block("cedar"))
                .file("shop.cedarschema", block("cedarschema"))
                .file("groups.json", block("json"));
            for secret in ["JWT", "IDENTITY", "CLIENT", "COOKIE", "WEBHOOK"] {
                gateway = gateway.env(&format!("{secret}_SECRET"), "a secret for tests, 32 bytes long");
            }
            for password in ["PASSWORD", "ADMIN_PASSWORD", "DB_PASSWORD"] {
                gateway = gateway.env(password, "a-password-for-tests");
            }
            let checked = gateway.args(&["check"]).run();
            assert_eq!(checked.code, Some(0), "{page}: {}\nin\n{example}", checked.stderr);
        }
    }
}

#[test]
fn the_operators_pages_are_linked_and_link_to_what_there_is() {
    let index = include_str!("../../../docs/README.md");
    let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    for (page, text, _) in PAGES {
        assert!(index.contains(&format!("({page})")), "{page} is not in docs/README.md");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let file = if file.is_empty() { page } else { file };
            let linked = std::fs::read_to_string(docs.join(file)).unwrap_or_default();
            assert!(docs.join(file).exists(), "{page} links to {link}");
            assert!(heading.is_empty() || headings(&linked).any(|known| known == heading), "{page}: {link}");
        }
    }
}

/// What the headings of a page are linked by.
fn headings(page: &str) -> impl Iterator<Item = String> {
    let named = page.lines().filter(|line| line.starts_with('#'));
    named.map(|line| {
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let text: String = line.trim_start_matches('#').trim().to_lowercase().chars().filter(kept).collect();
        text.replace(' ', "-")
    })
}

/// What a crate's README shows is its first example, which is tested with the crate.
#[test]
fn the_crates_readmes_show_their_first_example_and_link_to_what_there_is() {
    let crates = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut seen = 0;
    for entry in std::fs::read_dir(&crates).unwrap() {
        let dir = entry.unwrap().path();
        let name = dir.file_name().unwrap().to_string_lossy().into_owned();
        let Ok(front) = std::fs::read_to_string(dir.join("src/lib.rs")) else { continue };
        let readme = std::fs::read_to_string(dir.join("README.md"));
        let readme = readme.unwrap_or_else(|error| panic!("{name}/README.md: {error}"));
        seen += 1;
        for link in readme.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            assert!(link.starts_with("https:") || dir.join(link).exists(), "{name}: links to {link}");
        }
        let example: Vec<&str> = front.lines().filter_map(|line| line.strip_prefix("//!")).collect();
        let example: Vec<&str> = example.iter().map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
        let Some(shown) = readme.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next()) else {
            continue;
        };
        let shown: Vec<&str> = shown.lines().filter(|line| !line.is_empty()).collect();
        for line in shown {
            assert!(example.contains(&line), "{name}/README.md shows what is not tested: {line}");
        }
    }
    assert!(seen >= 15, "{seen} crates");
}
