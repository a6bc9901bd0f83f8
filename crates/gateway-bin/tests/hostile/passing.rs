//! What does not pass: fields for one connection (RFC 9110 §7.6.1), and what only the gateway may say.

use crate::case::{Case, get, post, seen};

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (what, fields, name, value) in [
        ("Host", "Connection: Host\r\n", "host", "a"),
        (
            "Authorization",
            "Connection: authorization\r\nAuthorization: Basic x\r\n",
            "authorization",
            "Basic x",
        ),
        ("Cookie", "Connection: cookie\r\nCookie: a=b\r\n", "cookie", "a=b"),
        ("X-Forwarded-For", "Connection: X-Forwarded-For\r\n", "x-forwarded-for", "127.0.0.1"),
        ("X-Forwarded-Proto", "Connection: close, X-Forwarded-Proto\r\n", "x-forwarded-proto", "http"),
    ] {
        let expected = seen("GET /x").with(name, value).without(&["connection"]);
        let case = Case::passes(format!("Connection names {what}"), get("/x", fields), expected);
        cases.push(if fields.contains("close") { case.closes() } else { case });
    }
    for (what, fields, names) in [
        ("Connection names a field", "Connection: X-Mine\r\nX-Mine: 1\r\n", &["x-mine", "connection"][..]),
        ("and another", "Connection: a\r\nConnection: x-mine\r\nX-Mine: 1\r\n", &["x-mine", "connection"]),
        ("Connection names odd things", "Connection: , ;, \"x\", @\r\n", &["connection"]),
        ("Keep-Alive", "Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n", &["keep-alive", "connection"]),
        ("Proxy-Connection", "Proxy-Connection: keep-alive\r\n", &["proxy-connection"]),
        ("Proxy-Authorization", "Proxy-Authorization: Basic x\r\n", &["proxy-authorization"]),
        ("TE", "TE: gzip\r\n", &["te"]),
        ("Trailer", "Trailer: X\r\n", &["trailer"]),
        ("Upgrade alone", "Upgrade: websocket\r\n", &["upgrade"]),
        (
            "h2c",
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
            &["upgrade", "http2-settings", "connection"],
        ),
        ("h2c in a list", "Connection: upgrade\r\nUpgrade: h2c, h2c\r\n", &["upgrade", "connection"]),
        (
            "h2c beside websocket",
            "Connection: upgrade\r\nUpgrade: websocket, H2C\r\n",
            &["upgrade", "connection"],
        ),
        (
            "h2c in another field",
            "Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n",
            &["upgrade", "connection"],
        ),
        ("X-User-Id", "X-User-Id: root\r\nX-User-Roles: admin\r\n", &["x-user-id", "x-user-roles"]),
        ("X_User_Id", "X_User_Id: root\r\nx-user_roles: admin\r\n", &["x_user_id", "x-user_roles"]),
        ("Forwarded", "Forwarded: for=192.0.2.1\r\n", &["forwarded"]),
        ("X-Real-IP", "X-Real-IP: 192.0.2.1\r\nX_Real_IP: 192.0.2.1\r\n", &["x-real-ip", "x_real_ip"]),
        ("Expect without a body", "Expect: 100-continue\r\n", &["expect"]),
        ("Expect of something else", "Expect: 200-ok\r\n", &["expect"]),
    ] {
        cases.push(Case::passes(what, get("/x", fields), seen("GET /x").without(names)));
    }
    for (what, fields) in [
        ("TE", "Connection: TE\r\nTE: trailers\r\n"),
        ("TE among others", "Connection: te, x-mine\r\nTE: gzip, trailers\r\nX-Mine: 1\r\n"),
        ("TE that nobody nominates", "TE: trailers;q=0.5, trailers\r\n"),
    ] {
        let expected = seen("GET /x").with("te", "trailers").with("connection", "te").without(&["x-mine"]);
        cases.push(Case::passes(what, get("/x", fields), expected));
    }
    for (what, fields) in [
        ("X-Forwarded-For", "X-Forwarded-For: 192.0.2.1\r\n"),
        ("X-Forwarded-For twice", "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 192.0.2.2\r\n"),
        ("X_Forwarded_For", "X_Forwarded_For: 192.0.2.1\r\n"),
    ] {
        let expected = seen("GET /x").with("x-forwarded-for", "127.0.0.1").without(&["x_forwarded_for"]);
        cases.push(Case::passes(what, get("/x", fields), expected));
    }
    for (what, fields) in [
        ("Connection names Content-Length", "Connection: content-length\r\nContent-Length: 5\r\n"),
        ("Expect", "Expect: 100-continue\r\nContent-Length: 5\r\n"),
        ("Expect in capitals", "Expect: 100-CONTINUE\r\nContent-Length: 5\r\n"),
        ("Expect of something else with a body", "Expect: 100-continue, x\r\nContent-Length: 5\r\n"),
        ("a change of protocol with a body", "Connection: upgrade\r\nUpgrade: x\r\nContent-Length: 5\r\n"),
    ] {
        let expected =
            seen("POST /x").with("content-length", "5").without(&["expect", "upgrade", "connection"]);
        cases.push(Case::passes(what, post(fields, "hello"), expected.body("hello")));
    }
    let nominated =
        post("Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n", "2\r\nhi\r\n0\r\n\r\n");
    let expected = seen("POST /x").with("transfer-encoding", "chunked").body("hi");
    cases.push(Case::passes("Connection names Transfer-Encoding", nominated, expected));
    let websocket = get("/1", "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n");
    let asked = || seen("GET /1").with("upgrade", "websocket").with("connection", "upgrade");
    cases.push(Case::passes("a change of protocol that is declined", websocket.clone(), asked()));
    let two = [websocket, get("/2", "")].concat();
    let both = vec![asked(), seen("GET /2")];
    cases.push(Case::several("a request after a change that is declined", two, &[200, 200], false, both));
    let old = "GET /x HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let expected = seen("GET /x").without(&["upgrade", "connection"]);
    cases.push(Case::passes("a change of protocol from HTTP/1.0", old, expected).closes());
    let old = "POST /x HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello";
    cases.push(
        Case::passes("Expect in HTTP/1.0", old, seen("POST /x").without(&["expect"]).body("hello")).closes(),
    );
    cases
}
