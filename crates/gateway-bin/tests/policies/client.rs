//! Who is asking.

use super::*;

#[test]
fn the_client_is_who_a_trusted_proxy_says_in_the_log_the_limit_and_towards_the_service() {
    for (trusted, first, second, sent_on) in [
        ("[\"127.0.0.0/8\"]", "192.0.2.1", "192.0.2.2", "9.9.9.9, 192.0.2.1, 127.0.0.1"),
        ("[]", "127.0.0.1", "127.0.0.1", "127.0.0.1"),
        ("[\"10.0.0.0/8\"]", "127.0.0.1", "127.0.0.1", "127.0.0.1"),
    ] {
        let upstream = Upstream::named("a");
        let config = format!(
            "forwarded.trusted_proxies = {trusted}\nrate_limits.few = \"1/h\"\n\
             [[routes]]\npath = \"/*\"\nservice = \"a\"\nrate_limit = \"few\"\n"
        );
        let gateway = in_front_of(&upstream, &config);
        let from = |address: &str| {
            send(&gateway, &Request::get("/").header("X-Forwarded-For", &format!("9.9.9.9, {address}")))
                .status
        };
        let seen = (from("192.0.2.1"), from("192.0.2.1"), from("192.0.2.2"));
        assert_eq!(seen, (200, 429, if first == second { 429 } else { 200 }), "{trusted}");
        assert_eq!(upstream.requests()[0].header("x-forwarded-for"), Some(sent_on), "{trusted}");
        let clients = wait_until("three lines", SOON, || {
            let log = gateway.access_log();
            (log.len() == 3).then(|| {
                log.iter().map(|line| line["client"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
            })
        });
        let mut clients = clients;
        clients.sort();
        assert_eq!(clients, [first, first, second], "{trusted}");
    }
}

#[test]
fn what_strangers_say_of_themselves_decides_nothing_and_is_told_to_nobody() {
    let asked = Upstream::start(|_| Reply::with(200, &[("X-Forwarded-User", "ada")], ""));
    for (trusted, open, seen_by) in [("[]", false, None), ("[\"127.0.0.0/8\"]", true, Some("192.0.2.1"))] {
        let upstream = Upstream::named("a");
        let config = format!(
            "forwarded.trusted_proxies = {trusted}\n\
             [auth.forward.f]\nurl = \"{}/\"\nresponse_headers = [\"x-forwarded-user\"]\n\
             [[routes]]\npath = \"/*\"\nservice = \"a\"\nauth = \"f\"\n\
             headers.request.set = {{ X-Forwarded-Proto = \"https\", X-Real-IP = \"10.0.0.1\" }}\n\
             [[routes]]\npath = \"/*\"\nrespond = \"secure\"\nmatch.headers.x-forwarded-scheme = \"https\"\n",
            asked.url()
        );
        let gateway = in_front_of(&upstream, &config);
        let claim = |name, value| Request::get("/").header(name, value);
        assert_eq!(text(&gateway, &claim("X-Forwarded-Scheme", "https")) == "secure", open, "{trusted}");
        for name in ["X-Real-IP", "X_Real_IP", "X-Forwarded-Port", "X-Forwarded_Groups", "Forwarded"] {
            assert_eq!(send(&gateway, &claim(name, "192.0.2.1")).status, 200);
            let seen = asked.requests().pop().unwrap();
            assert_eq!(seen.header(&name.to_lowercase()), seen_by, "{name} of {trusted}");
        }
        let seen = upstream.requests().pop().unwrap();
        let told = ["x-forwarded-user", "x-forwarded-proto", "x-real-ip"].map(|name| seen.header(name));
        assert_eq!(
            told,
            [Some("ada"), Some("https"), Some("10.0.0.1")],
            "what policies say stays: {trusted}"
        );
    }
}

#[test]
fn where_only_the_number_of_proxies_is_known_the_client_is_at_its_place_from_the_right() {
    let upstream = Upstream::named("a");
    for (forwarded, expected, sent_on) in [
        ("depth = 1", "192.0.2.1", "9.9.9.9, 192.0.2.7, 192.0.2.1, 127.0.0.1"),
        ("depth = 2", "192.0.2.7", "9.9.9.9, 192.0.2.7, 192.0.2.1, 127.0.0.1"),
        ("depth = 2\ntrusted_proxies = [\"10.0.0.0/8\"]", "127.0.0.1", "127.0.0.1"),
    ] {
        let config = format!("[forwarded]\n{forwarded}\n[[routes]]\npath = \"/*\"\nservice = \"a\"\n");
        let gateway = in_front_of(&upstream, &config);
        let request = Request::get("/").header("X-Forwarded-For", "9.9.9.9, 192.0.2.7, 192.0.2.1");
        assert_eq!(send(&gateway, &request).status, 200);
        let client =
            wait_until("a line", SOON, || Some(gateway.access_log().first()?["client"].as_str()?.to_owned()));
        assert_eq!(client, expected, "{forwarded}");
        assert_eq!(
            upstream.requests().pop().unwrap().header("x-forwarded-for"),
            Some(sent_on),
            "{forwarded}"
        );
    }
}

#[test]
fn the_header_that_names_the_client_can_be_chosen_and_what_is_sent_on_too() {
    let upstream = Upstream::named("a");
    let ask = |forwarded: &str| {
        let config = format!(
            "[forwarded]\ntrusted_proxies = [\"127.0.0.0/8\"]\n{forwarded}\n[[routes]]\npath = \"/*\"\nservice = \"a\"\n"
        );
        let gateway = in_front_of(&upstream, &config);
        let request = Request::get("/")
            .header("Host", "shop.example:8443")
            .header("X-Forwarded-For", "192.0.2.1")
            .header("X-Real-IP", "192.0.2.2")
            .header("Forwarded", "for=192.0.2.3;proto=https");
        assert_eq!(send(&gateway, &request).status, 200);
        let client =
            wait_until("a line", SOON, || Some(gateway.access_log().first()?["client"].as_str()?.to_owned()));
        (client, upstream.requests().pop().unwrap())
    };
    for (from, expected) in [
        ("auto", "192.0.2.1"),
        ("x_forwarded_for", "192.0.2.1"),
        ("x_real_ip", "192.0.2.2"),
        ("forwarded", "192.0.2.3"),
        ("peer", "127.0.0.1"),
    ] {
        assert_eq!(ask(&format!("client_from = \"{from}\"")).0, expected, "{from}");
    }
    let (_, seen) = ask("port = true\nrfc7239 = true");
    assert_eq!(seen.header("x-forwarded-port"), Some("8443"));
    assert_eq!(seen.header("x-forwarded-for"), Some("192.0.2.1, 127.0.0.1"));
    let chain = seen.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("forwarded"));
    let chain: Vec<&str> = chain.map(|(_, value)| value.as_str()).collect();
    assert!(
        chain.join(", ").starts_with("for=192.0.2.3;proto=https, for=127.0.0.1;proto=https"),
        "{chain:?}"
    );
}
