//! What the gateway makes of requests that nobody sends by accident: for each one the status, whether the
//! connection is closed, and exactly what the upstream saw of it. Tables, in which all that is wrong is shown at
//! once.
#![allow(clippy::unwrap_used)]

mod case;
mod chunks;
mod frames;
mod framing;
mod hosts;
mod http2;
mod lines;
mod passing;
mod targets;
mod told;

use case::Case;
use gateway_testkit::{Gateway, Upstream, get};

/// One gateway for a whole table: `/admin/*` needs a token, `/shop/*` loses its prefix, and all the rest
/// goes to the same upstream as it came.
pub(crate) fn start(upstream: &Upstream) -> Gateway {
    let config = format!(
        "access_log = false\n[server]\nlisten = \"127.0.0.1:@PORT@\"\nworkers = 1\nheader_timeout = \"5s\"\n\
         max_head = \"16KiB\"\n[admin]\nlisten = \"127.0.0.1:@ADMIN@\"\n[services.a]\nendpoints = [\"{}\"]\n\
         [auth.jwt.staff]\nsecret = \"a secret for tests, 32 bytes long\"\n\
         [[routes]]\npath = \"/*\"\nservice = \"a\"\n[[routes]]\npath = \"/admin/*\"\nservice = \"a\"\nauth = \"staff\"\n\
         [[routes]]\npath = \"/shop/*\"\nservice = \"a\"\nstrip = \"/shop\"\n",
        upstream.url()
    );
    Gateway::builder(env!("CARGO_BIN_EXE_gateway")).config(&config).start()
}

fn all_are_as_they_should_be(cases: Vec<Case>) {
    let upstream = Upstream::named("a");
    let gateway = start(&upstream);
    let count = cases.len();
    let wrong: Vec<String> = cases.into_iter().filter_map(|case| case.run(&gateway, &upstream)).collect();
    assert!(wrong.is_empty(), "{} of {count} are wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(get(gateway.admin(), "/livez").status, 200);
    let finished = gateway.stop();
    assert!(!finished.stderr.contains("panic"), "{}", finished.stderr);
}

#[test]
fn requests_whose_end_could_be_read_in_two_ways_are_refused() {
    all_are_as_they_should_be(framing::cases());
}

#[test]
fn chunked_bodies_are_read_to_the_letter() {
    all_are_as_they_should_be(chunks::cases());
}

#[test]
fn request_lines_and_fields_that_are_not_http_are_refused() {
    all_are_as_they_should_be(lines::cases());
}

#[test]
fn every_spelling_of_a_path_means_one_path() {
    all_are_as_they_should_be(targets::cases());
}

#[test]
fn a_request_is_for_one_host() {
    all_are_as_they_should_be(hosts::cases());
}

#[test]
fn what_is_for_one_connection_or_for_the_gateway_to_say_does_not_pass() {
    all_are_as_they_should_be(passing::cases());
}

#[test]
fn a_guarded_path_is_guarded_however_its_letters_are_encoded() {
    let cases = ["/%61dmin/x", "/adm%69n/x", "/%61%64%6D%69%6e/x", "/a/../%61dmin/x"];
    all_are_as_they_should_be(
        cases.into_iter().map(|target| Case::turned_away(target, case::get(target, ""), 401)).collect(),
    );
}
