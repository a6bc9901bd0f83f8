//! Targets: every spelling of a guarded path is guarded, and the upstream sees the path that was decided by.

use crate::case::{Case, get, seen};

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for target in [
        "/admin/x",
        "//admin/x",
        "/admin//x",
        "/./admin/x",
        "/../admin/x",
        "/a/../admin/x",
        "/a/b/../../admin/x",
        "/a/%2e%2e/admin/x",
        "/a/%2E./admin/x",
        "/a/.%2e/admin/x",
        "/%2e/admin/x",
        "/a//../admin/x",
        "/admin/x/../y",
        "/admin/",
        "http://a/admin/x",
        "http://a//a/../admin/x",
    ] {
        cases.push(Case::turned_away(target, get(target, ""), 401));
    }
    for (target, upstream) in [
        ("/a/../b", "/b"),
        ("/a/./b/.", "/a/b/"),
        ("/a/b/..", "/a/"),
        ("//a///b//", "/a/b/"),
        ("/../../../../etc/passwd", "/etc/passwd"),
        ("/%2e%2e/%2e%2e/etc/passwd", "/etc/passwd"),
        ("/admin/../x", "/x"),
        ("/shop/a", "/a"),
        ("/shop//a", "/a"),
        ("/shop/../shop/a", "/a"),
        ("/shop/..", "/"),
        ("/a/...", "/a/..."),
        ("/.well-known/x", "/.well-known/x"),
        ("/a%20b", "/a%20b"),
        ("/%C3%A9", "/%C3%A9"),
        ("/%c3%a9", "/%C3%A9"),
        ("/é/a|b", "/%C3%A9/a%7Cb"),
        // Not decoded twice, and not taken for a dot or a slash where no decoder should.
        ("/%252e%252e/x", "/%252e%252e/x"),
        ("/%c0%ae%c0%ae/x", "/%C0%AE%C0%AE/x"),
        ("/%c0%af/x", "/%C0%AF/x"),
        ("/%e0%80%af/x", "/%E0%80%AF/x"),
        ("/a;v=1/b;c", "/a;v=1/b;c"),
        ("/...;/x", "/...;/x"),
        ("/a?b=../../c&d=//&e=%2f%00", "/a?b=../../c&d=//&e=%2f%00"),
        ("/a?b?c", "/a?b?c"),
        ("/a?", "/a?"),
        ("/a/..?x", "/?x"),
        ("/?", "/?"),
        ("/ADMIN/x", "/ADMIN/x"),
        ("http://a", "/"),
        ("http://a?x", "/?x"),
        ("HTTP://a/x", "/x"),
    ] {
        cases.push(Case::passes(target, get(target, ""), seen(&format!("GET {upstream}"))));
    }
    for target in [
        "/a%2Fb",
        "/a%2fadmin",
        "/..%2fadmin/x",
        "/a%5cb",
        "/a%5C..%5cb",
        "/a\\b",
        "/\\admin/x",
        "/a%00",
        "/a%00.html",
        "/a%0d%0aX:%20y",
        "/a%0a",
        "/a%7f",
        "/a%1b",
        "/a%",
        "/a%2",
        "/a%zz",
        "/a%%2e",
        "/a%u002e",
        "/..;/x",
        "/%2e%2E;a=1/x",
    ] {
        cases.push(Case::turned_away(target, get(target, ""), 400));
    }
    for target in [
        "a",
        "a/b",
        "a:80",
        "?x",
        "#x",
        "../x",
        "",
        "/<x>",
        "/x#y",
        "/x?y#z",
        "http://a/x#y",
        "/a b",
        "/a\tb",
        "/a\0b",
        "/a\x7fb",
        "http:/x",
        "http:///x",
        "file:///etc/passwd",
    ] {
        cases.push(Case::refused(format!("target {target:?}"), get(target, ""), 400));
    }
    let mut high = b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n".to_vec();
    cases.push(Case::refused("a target that is no text", high.clone(), 400));
    high[5..7].copy_from_slice("\u{e9}".as_bytes());
    cases.push(Case::passes("a target beyond ASCII", high, seen("GET /%C3%A9")));
    cases
}
