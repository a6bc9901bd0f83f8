//! Every way to authenticate through the binary: several on a route, what services are told, and what a client cannot
//! make them believe.
#![allow(clippy::unwrap_used)]

use gateway_testkit::{Client, Gateway, Redis, Reply, Request, Response, Upstream, get, wait_until};
use serde_json::json;
use std::net::SocketAddr;
use std::time::Duration;

const EXE: &str = env!("CARGO_BIN_EXE_gateway");
const SOON: Duration = Duration::from_secs(10);
const SECRET: &str = "a secret for tests, 32 bytes long";
/// `ada`, with `the basic password`.
const BASIC: &str = "Basic YWRhOnRoZSBiYXNpYyBwYXNzd29yZA==";
const BASIC_HASH: &str = "$2b$04$abcdefghijklmnopqrstuuec8uW7SWF6eS9EEj35BRMem15vhsxtu";
const CLIENT_SECRET: &str = "what the gateway asks with";
const CERTIFICATE: &str = "Hash=9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08;\
                           Subject=\"CN=orders,O=Shop\";DNS=orders.shop.example";

/// Says who may pass, as Traefik's forward authentication asks.
fn forward() -> Upstream {
    Upstream::start(|request| match request.header("authorization") {
        Some("Bearer a-forwarded-token") => Reply::with(200, &[("X-Who", "frida"), ("X-Plan", "gold")], ""),
        _ => Reply::with(401, &[("WWW-Authenticate", "Portal")], "see the portal"),
    })
}

/// Says whose a token is (RFC 7662).
fn introspection() -> Upstream {
    Upstream::start(|request| {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        let good = body.contains("token=an-opaque-token");
        let claims = json!({ "active": good, "sub": "ines", "scope": "read", "roles": ["clerk"] });
        Reply::with(200, &[("Content-Type", "application/json")], &claims.to_string())
    })
}

struct Place {
    upstream: Upstream,
    forward: Upstream,
    introspection: Upstream,
    redis: Redis,
    gateway: Gateway,
}

impl Place {
    fn new(routes: &str) -> Self {
        let (upstream, forward, introspection) = (Upstream::named("a"), forward(), introspection());
        let redis = Redis::start();
        let config = format!(
            "access_log = \"@DIR@/access.log\"\n[server]\nlisten = \"127.0.0.1:@PORT@\"\nworkers = 2\n\
             watch = false\n[admin]\nlisten = \"127.0.0.1:@ADMIN@\"\n[services.a]\nendpoints = [\"{}\"]\n\
             [store.redis]\nurl = \"{}\"\ntimeout = \"2s\"\n\
             [auth.jwt.shop]\nsecret = \"{SECRET}\"\n[auth.api_keys.partners]\n\
             [auth.basic.staff.users]\nada = {{ hash = \"{BASIC_HASH}\", roles = [\"admin\"] }}\n\
             [auth.introspection.opaque]\nurl = \"{}/introspect\"\nclient_id = \"gateway\"\n\
             client_secret = \"{CLIENT_SECRET}\"\n\
             [auth.forward.portal]\nurl = \"{}/verify\"\nprincipal_header = \"X-Who\"\n\
             response_headers = [\"X-Plan\"]\n\
             [auth.mtls.mesh]\nheader = \"X-Forwarded-Client-Cert\"\ntrusted_proxies = [\"127.0.0.1/32\"]\n{routes}",
            upstream.url(),
            redis.url(),
            introspection.url(),
            forward.url(),
        );
        let gateway = Gateway::builder(EXE).config(&config).start();
        Self { upstream, forward, introspection, redis, gateway }
    }

    fn addr(&self) -> SocketAddr {
        self.gateway.addr()
    }

    fn token(&self, claims: &[&str]) -> String {
        let mut command = std::process::Command::new(EXE);
        command.args(["token", "--auth", "shop", "--config"]).arg(self.gateway.dir().join("gateway.toml"));
        for claim in claims {
            command.args(["--claim", claim]);
        }
        String::from_utf8(command.output().unwrap().stdout).unwrap().trim().to_owned()
    }

    fn key(&self, id: &str) -> String {
        let request = Request::new("POST", "/keys/partners").body(json!({ "id": id }).to_string());
        let made = Client::new(self.gateway.admin()).send(&request);
        assert_eq!(made.status, 201, "{}", made.text());
        made.json()["key"].as_str().unwrap().to_owned()
    }

    /// Ends the gateway and searches all it wrote.
    fn wrote_no(self, secrets: &[&str]) {
        assert_eq!(get(self.addr(), "/the-last-line").status, 404);
        let path = self.gateway.dir().join("access.log");
        let log = wait_until("the access log to be written", SOON, || {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            text.contains("the-last-line").then_some(text)
        });
        let finished = self.gateway.stop();
        let all = [log, finished.stdout, finished.stderr].concat();
        for secret in secrets {
            let line = all.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "a secret was written");
        }
    }
}

fn with(addr: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Response {
    let request = headers.iter().fold(Request::get(path), |request, (n, v)| request.header(n, v));
    Client::new(addr).send(&request)
}

fn code(answer: &Response) -> String {
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    body["code"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn of_several_methods_the_first_whose_credential_is_there_decides() {
    let place = Place::new(
        "[[routes]]\npath = \"/*\"\nservice = \"a\"\nidentity_headers = { preset = \"s4\" }\n\
         auth = { methods = [\"shop\", \"partners\", \"staff\"], public = [\"/open\"] }\n\
         [[routes]]\npath = \"/maybe\"\nservice = \"a\"\nidentity_headers = { preset = \"s4\" }\n\
         auth = { methods = [\"shop\", \"partners\", \"staff\"], optional = true }\n\
         [[routes]]\npath = \"/watched\"\nservice = \"a\"\nidentity_headers = { preset = \"s4\" }\n\
         auth = { methods = [\"shop\"], mode = \"report\" }\n\
         [[routes]]\npath = \"/the-last-line\"\nrespond = 404\n",
    );
    let bearer = format!("Bearer {}", place.token(&["sub=jo"]));
    let key = place.key("acme");
    let wrong_key = key.replace(char::is_numeric, "x");
    let forged = format!("{}{}", &bearer[..bearer.len() - 8], "AAAAAAAA");
    let revoked = format!("Bearer {}", place.token(&["sub=jo", "sid=over"]));
    let session = Request::new("POST", "/revoke").body(json!({ "session": "over" }).to_string());
    assert_eq!(Client::new(place.gateway.admin()).send(&session).status, 200);
    let jwt: &[_] = &[("Authorization", bearer.as_str())];
    let api_key: &[_] = &[("X-API-Key", key.as_str())];
    let basic: &[_] = &[("Authorization", BASIC)];
    type Headers<'h> = &'h [(&'h str, &'h str)];
    let table: &[(&str, Headers<'_>, u16, Option<&str>)] = &[
        ("/x", jwt, 200, Some("jo")),
        ("/x", api_key, 200, Some("acme")),
        ("/x", basic, 200, Some("ada")),
        ("/x", &[], 401, None),
        ("/x", &[("Authorization", "Bearer not-a-token-at-all")], 401, None),
        ("/x", &[("Authorization", "Basic YWRhOmEgd3JvbmcgcGFzc3dvcmQ=")], 401, None),
        ("/x", &[("X-API-Key", &wrong_key)], 401, None),
        // One that was good is not made good again by the next; one that never was may be meant for another.
        ("/x", &[("Authorization", &revoked), ("X-API-Key", &key)], 401, None),
        ("/x", &[("Authorization", &forged)], 401, None),
        ("/x", &[("Authorization", &forged), ("X-API-Key", &key)], 200, Some("acme")),
        ("/x", &[("Authorization", &bearer), ("X-API-Key", &wrong_key)], 200, Some("jo")),
        ("/open", &[], 200, None),
        ("/maybe", &[], 200, None),
        ("/maybe", jwt, 200, Some("jo")),
        ("/maybe", &[("Authorization", "Bearer not-a-token-at-all")], 401, None),
        ("/watched", &[], 200, None),
        ("/watched", &[("Authorization", "Bearer not-a-token-at-all")], 200, None),
        ("/watched", jwt, 200, Some("jo")),
    ];
    for (path, headers, status, who) in table {
        let before = place.upstream.hits();
        let answer = with(place.addr(), path, headers);
        assert_eq!(answer.status, *status, "{path} {headers:?}: {}", answer.text());
        assert_eq!(place.upstream.hits() - before, usize::from(*status == 200), "{path} {headers:?}");
        if *status == 200 {
            let told = place.upstream.requests();
            let told = told.last().unwrap();
            assert_eq!(told.header("x-user-id"), *who, "{path} {headers:?}");
            if *who == Some("acme") {
                assert_eq!(told.header("x-api-key"), None, "the key is hidden");
            }
            assert_ne!(told.header("authorization"), Some(BASIC), "the password is hidden");
        } else {
            let challenges = answer.all("www-authenticate").join(", ");
            assert!(challenges.contains("realm=\"gateway\""), "{path}: `{challenges}`");
        }
    }
    let secrets = [&bearer["Bearer ".len()..], &key, "the basic password", &BASIC["Basic ".len()..], SECRET];
    place.wrote_no(
        &[
            &secrets[..],
            &[
                "not-a-token-at-all",
                &forged["Bearer ".len()..],
                &revoked["Bearer ".len()..],
                &wrong_key,
                BASIC_HASH,
            ],
        ]
        .concat(),
    );
}

#[test]
fn what_a_client_says_of_itself_reaches_no_service_by_any_method() {
    const METHODS: [&str; 6] = ["shop", "partners", "staff", "opaque", "portal", "mesh"];
    let routes: String = METHODS
        .iter()
        .map(|method| {
            format!(
                "[[routes]]\npath = \"/{method}\"\nservice = \"a\"\nauth = \"{method}\"\n\
                 identity_headers = {{ preset = \"s4\", headers = {{ \"X-Auth-Method\" = \"@method\" }} }}\n"
            )
        })
        .collect();
    let optional = "[[routes]]\npath = \"/maybe\"\nservice = \"a\"\nauth = { methods = [\"shop\"], optional = true }\n\
                    identity_headers = { preset = \"s4\" }\n\
                    [[routes]]\npath = \"/free\"\nservice = \"a\"\n\
                    [[routes]]\npath = \"/the-last-line\"\nrespond = 404\n";
    let place = Place::new(&(routes + optional));
    let bearer = format!("Bearer {}", place.token(&["sub=jo", "roles=[\"buyer\"]"]));
    let key = place.key("acme");
    let spoofed = [
        ("X-User-ID", "spoofed"),
        ("x-user-id", "spoofed"),
        ("X_User_ID", "spoofed"),
        ("X-User_Roles", "spoofed"),
        ("X-User-Roles", "spoofed"),
        ("X-Auth-Method", "spoofed"),
    ];
    // Where nobody is asked who they are of, these are headers as any.
    let of_portal = [("X-Plan", "spoofed"), ("X-Who", "spoofed")];
    let table = [
        ("/shop", Some(("Authorization", bearer.as_str())), Some("jo")),
        ("/partners", Some(("X-API-Key", &key)), Some("acme")),
        ("/staff", Some(("Authorization", BASIC)), Some("ada")),
        ("/opaque", Some(("Authorization", "Bearer an-opaque-token")), Some("ines")),
        ("/portal", Some(("Authorization", "Bearer a-forwarded-token")), Some("frida")),
        ("/mesh", Some(("X-Forwarded-Client-Cert", CERTIFICATE)), Some("orders.shop.example")),
        ("/maybe", None, None),
        ("/free", None, None),
    ];
    for (path, credential, who) in table {
        for also in [&[][..], &spoofed[..]] {
            let portal = of_portal.into_iter().filter(|_| path == "/portal" && !also.is_empty());
            let headers: Vec<_> = also.iter().copied().chain(portal).chain(credential).collect();
            let answer = with(place.addr(), path, &headers);
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            let requests = place.upstream.requests();
            let told = requests.last().unwrap();
            assert_eq!(told.header("x-user-id"), who, "{path}");
            assert_eq!(told.header("x-plan"), (path == "/portal").then_some("gold"), "{path}");
            let believed: Vec<_> = told.headers.iter().filter(|(_, value)| value == "spoofed").collect();
            assert!(believed.is_empty(), "{path}: {believed:?}");
        }
    }
    // The asked services are not told by clients either.
    for asked in place.forward.requests() {
        assert_eq!(asked.header("x-forwarded-uri"), Some("/portal"));
    }
    let secrets =
        ["an-opaque-token", "a-forwarded-token", CLIENT_SECRET, SECRET, &key, &bearer["Bearer ".len()..]];
    place.wrote_no(&secrets);
}

#[test]
fn services_that_are_asked_decide_and_their_absence_lets_nobody_in() {
    let mut place = Place::new(
        "[[routes]]\npath = \"/opaque\"\nservice = \"a\"\nauth = \"opaque\"\nauthorize = { scopes = [\"read\"] }\n\
         [[routes]]\npath = \"/portal\"\nservice = \"a\"\nauth = \"portal\"\n\
         [[routes]]\npath = \"/the-last-line\"\nrespond = 404\n",
    );
    let addr = place.addr();
    let ask = |path: &str, token: &str| with(addr, path, &[("Authorization", &format!("Bearer {token}"))]);
    for _ in 0..3 {
        assert_eq!(ask("/opaque", "an-opaque-token").status, 200);
        assert_eq!(ask("/opaque", "another-opaque-thing").status, 401);
    }
    assert_eq!(place.introspection.hits(), 2, "good and bad ones are remembered");
    let asked = &place.introspection.requests()[0];
    assert!(asked.header("authorization").unwrap().starts_with("Basic "), "the gateway says who asks");

    assert_eq!(ask("/portal", "a-forwarded-token").status, 200);
    let refused = ask("/portal", "whatever-else-it-is");
    assert_eq!(
        (refused.status, refused.text().as_str()),
        (401, "see the portal"),
        "its answer is the client's"
    );
    assert_eq!(refused.header("www-authenticate"), Some("Portal"));
    assert_eq!(place.forward.hits(), 2, "asked each time");

    place.introspection.kill();
    place.forward.kill();
    assert_eq!(ask("/opaque", "an-opaque-token").status, 200, "remembered");
    let before = place.upstream.hits();
    for (path, token) in [("/opaque", "a-new-opaque-token"), ("/portal", "a-forwarded-token")] {
        let answer = ask(path, token);
        println!("{path}: {} {}", answer.status, code(&answer));
        assert!((500..=504).contains(&answer.status), "{path}: {} {}", answer.status, answer.text());
    }
    assert_eq!(place.upstream.hits(), before, "nobody was let in");
    place.forward.restart();
    assert_eq!(ask("/portal", "a-forwarded-token").status, 200);
    let secrets =
        ["an-opaque-token", "another-opaque-thing", "a-forwarded-token", CLIENT_SECRET, "a-new-opaque-token"];
    assert!(place.redis.keys("*opaque-token*").is_empty(), "nor does Redis hold them");
    place.wrote_no(&secrets);
}
