//! One request as a line of JSON.

use crate::metrics::RouteLabels;
use crate::settings::LogFormat;
use crate::time::{Utc, write_go_duration};
use gateway_core::{
    CacheResult, Endpoint, Limited, PolicyDecision, Principal, Problem, RequestId, Scheme, Unenforced,
    percent,
};
use http::{HeaderValue, Method, Uri};
use std::net::IpAddr;
use std::time::Duration;

/// What is known of a request when it is over.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    pub(crate) time: Utc,
    pub(crate) id: Option<&'a RequestId>,
    pub(crate) client: Option<IpAddr>,
    pub(crate) scheme: Scheme,
    pub(crate) host: Option<&'a HeaderValue>,
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    pub(crate) user_agent: Option<&'a HeaderValue>,
    pub(crate) route: &'a RouteLabels,
    pub(crate) status: u16,
    /// The gateway's own code, or why there is no whole answer.
    pub(crate) reason: Option<&'static str>,
    pub(crate) problem: Option<&'a Problem>,
    /// What broke the answer off.
    pub(crate) broke_for: Option<&'a str>,
    pub(crate) principal: Option<&'a Principal>,
    pub(crate) endpoint: Option<&'a Endpoint>,
    pub(crate) limited: Option<&'a Limited>,
    pub(crate) unenforced: Option<&'a Unenforced>,
    pub(crate) cached: Option<CacheResult>,
    /// Where written policies were asked.
    pub(crate) decision: Option<&'a PolicyDecision>,
    pub(crate) took: Duration,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
}

pub(crate) fn write(line: &mut Vec<u8>, record: &Record<'_>, format: LogFormat, redact: &[String]) {
    match format {
        LogFormat::Json => write_json(line, record, redact),
        LogFormat::Echo => write_echo(line, record, redact),
        LogFormat::ApiGateway => write_api_gateway(line, record, redact),
    }
    line.extend_from_slice(b"}\n");
}

fn write_json(line: &mut Vec<u8>, r: &Record<'_>, redact: &[String]) {
    line.extend_from_slice(b"{\"time\":");
    time(line, r.time);
    match r.id {
        Some(id) => plain(line, r#","id":""#, id.as_header().as_bytes()),
        None => put(line, r#","id":null"#),
    }
    put(line, r#","client":"#);
    address(line, r.client);
    plain(line, r#","method":""#, r.method.as_str().as_bytes());
    text(line, r#","host":""#, r.host.map_or(b"", HeaderValue::as_bytes));
    put(line, r#","uri":"#);
    line.push(b'"');
    uri(line, r.uri, redact);
    text(line, r#","route":""#, r.route.endpoint.as_bytes());
    text(line, r#","service":""#, r.route.service.as_bytes());
    optional(line, r#","upstream":"#, r.endpoint.map(Endpoint::name));
    number(line, r#","status":"#, u64::from(r.status));
    optional(line, r#","reason":"#, r.reason);
    optional(line, r#","user":"#, r.principal.map(Principal::id));
    duration(line, r.took);
    number(line, r#","bytes_in":"#, r.bytes_in);
    number(line, r#","bytes_out":"#, r.bytes_out);
    text(line, r#","user_agent":""#, r.user_agent.map_or(b"", HeaderValue::as_bytes));
    // Only where a limit has something to say: most lines are shorter without.
    match r.limited {
        None => {}
        Some(Limited::By(limit)) => text(line, r#","limited_by":""#, limit.as_bytes()),
        Some(Limited::Would(limit)) => text(line, r#","would_limit":""#, limit.as_bytes()),
    }
    if let Some(Unenforced { status, code }) = r.unenforced {
        let why = match code {
            Some(code) => code.name(),
            None => status.as_str(),
        };
        text(line, r#","would_refuse":""#, why.as_bytes());
    }
    if let Some(cached) = r.cached {
        text(line, r#","cache":""#, cached.name().as_bytes());
    }
    if let Some(problem) = r.problem {
        if problem.status().is_server_error() {
            text(line, r#","error":""#, problem.proxy_error().name().as_bytes());
        }
        if let Some(detail) = problem.detail() {
            text(line, r#","detail":""#, detail.as_bytes());
        }
    } else if let Some(why) = r.broke_for {
        text(line, r#","detail":""#, why.as_bytes());
    }
    if let Some(decision) = r.decision {
        text(line, r#","decision":""#, decision.outcome().as_bytes());
        put(line, r#","policies":"#);
        list(line, &decision.policies);
    }
}

/// The fields of Echo's logger in its order (S3-22).
fn write_echo(line: &mut Vec<u8>, r: &Record<'_>, redact: &[String]) {
    line.extend_from_slice(b"{\"time\":");
    time(line, r.time);
    plain(line, r#","id":""#, r.id.map_or(b"", |id| id.as_header().as_bytes()));
    put(line, r#","remote_ip":"#);
    address(line, r.client);
    text(line, r#","host":""#, r.host.map_or(b"", HeaderValue::as_bytes));
    plain(line, r#","method":""#, r.method.as_str().as_bytes());
    put(line, r#","uri":"#);
    line.push(b'"');
    uri(line, r.uri, redact);
    text(line, r#","user_agent":""#, r.user_agent.map_or(b"", HeaderValue::as_bytes));
    number(line, r#","status":"#, u64::from(r.status));
    put(line, r#","error":"#);
    match r.problem {
        None => line.extend_from_slice(b"\"\""),
        Some(problem) => {
            line.extend_from_slice(b"{\"code\":");
            digits(line, u64::from(r.status));
            text(line, r#","message":""#, problem.detail().unwrap_or(problem.code().message()).as_bytes());
            line.push(b'}');
        }
    }
    let nanos = u64::try_from(r.took.as_nanos()).unwrap_or(u64::MAX);
    number(line, r#","latency":"#, nanos);
    line.extend_from_slice(b",\"latency_human\":\"");
    write_go_duration(line, nanos);
    line.push(b'"');
    number(line, r#","bytes_in":"#, r.bytes_in);
    number(line, r#","bytes_out":"#, r.bytes_out);
}

/// The fields of S4's log in their order (S4-32).
fn write_api_gateway(line: &mut Vec<u8>, r: &Record<'_>, redact: &[String]) {
    line.extend_from_slice(b"{\"timestamp\":");
    time(line, r.time);
    text(line, r#","message":""#, b"API Gateway Request");
    plain(line, r#","method":""#, r.method.as_str().as_bytes());
    put(line, r#","url":"#);
    line.push(b'"');
    line.extend_from_slice(r.scheme.as_str().as_bytes());
    line.extend_from_slice(b"://");
    escape(line, r.host.map_or(b"", HeaderValue::as_bytes));
    uri(line, r.uri, redact);
    number(line, r#","status_code":"#, u64::from(r.status));
    duration(line, r.took);
    optional(line, r#","user_id":"#, r.principal.map(Principal::id));
    optional(line, r#","correlation_id":"#, r.id.map(RequestId::as_str));
    text(line, r#","user_agent":""#, r.user_agent.map_or(b"", HeaderValue::as_bytes));
    put(line, r#","ip_address":"#);
    address(line, r.client);
}

/// In milliseconds, to the microsecond.
fn duration(line: &mut Vec<u8>, took: Duration) {
    put(line, r#","duration_ms":"#);
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    digits(line, micros / 1000);
    line.extend_from_slice(&[
        b'.',
        b'0' + (micros / 100 % 10) as u8,
        b'0' + (micros / 10 % 10) as u8,
        b'0' + (micros % 10) as u8,
    ]);
}

/// A part of the line that is always the same: a field's name with all around it, so that it is one copy whose length is
/// known to the compiler.
#[inline(always)]
fn put(line: &mut Vec<u8>, text: &'static str) {
    line.extend_from_slice(text.as_bytes());
}

/// A field that holds text. Its name ends with the first quote.
#[inline(always)]
fn text(line: &mut Vec<u8>, name: &'static str, value: &[u8]) {
    put(line, name);
    escape(line, value);
    line.push(b'"');
}

/// The same with what holds nothing to be escaped, such as a method.
#[inline(always)]
fn plain(line: &mut Vec<u8>, name: &'static str, value: &[u8]) {
    put(line, name);
    line.extend_from_slice(value);
    line.push(b'"');
}

#[inline(always)]
fn optional(line: &mut Vec<u8>, name: &'static str, value: Option<&str>) {
    put(line, name);
    match value {
        Some(value) => string(line, value.as_bytes()),
        None => line.extend_from_slice(b"null"),
    }
}

fn list(line: &mut Vec<u8>, texts: &[String]) {
    line.push(b'[');
    for (i, text) in texts.iter().enumerate() {
        if i > 0 {
            line.push(b',');
        }
        string(line, text.as_bytes());
    }
    line.push(b']');
}

#[inline(always)]
fn number(line: &mut Vec<u8>, name: &'static str, value: u64) {
    put(line, name);
    digits(line, value);
}

fn digits(line: &mut Vec<u8>, value: u64) {
    line.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn address(line: &mut Vec<u8>, ip: Option<IpAddr>) {
    use std::io::Write;
    line.push(b'"');
    match ip {
        None => {}
        // By hand: `fmt` takes ten times as long.
        Some(IpAddr::V4(ip)) => {
            for (i, octet) in ip.octets().into_iter().enumerate() {
                if i > 0 {
                    line.push(b'.');
                }
                if octet >= 100 {
                    line.push(b'0' + octet / 100);
                }
                if octet >= 10 {
                    line.push(b'0' + octet / 10 % 10);
                }
                line.push(b'0' + octet % 10);
            }
        }
        Some(IpAddr::V6(ip)) => {
            // Writing to a vector does not fail.
            let _ = write!(line, "{ip}");
        }
    }
    line.push(b'"');
}

/// RFC 3339 with nine digits of fraction.
fn time(line: &mut Vec<u8>, utc: Utc) {
    let mut text = *b"\"0000-00-00T00:00:00.000000000Z\"";
    text[1..20].copy_from_slice(&utc.second);
    let mut nanos = utc.nanos;
    for digit in text[21..30].iter_mut().rev() {
        *digit = b'0' + (nanos % 10) as u8;
        nanos /= 10;
    }
    line.extend_from_slice(&text);
}

/// The rest of a text: the target with the values of some query parameters left out.
fn uri(line: &mut Vec<u8>, uri: &Uri, redact: &[String]) {
    escape(line, uri.path().as_bytes());
    let Some(query) = uri.query() else { return line.push(b'"') };
    let mut between = b'?';
    for pair in query.split('&') {
        line.push(between);
        between = b'&';
        match pair.split_once('=') {
            Some((name, _)) if is_one_of(redact, name) => {
                escape(line, name.as_bytes());
                line.extend_from_slice(b"=redacted");
            }
            _ => escape(line, pair.as_bytes()),
        }
    }
    line.push(b'"');
}

/// Services read what is percent-encoded in a name, too.
fn is_one_of(names: &[String], name: &str) -> bool {
    let name = percent::form_decoded(name);
    names.iter().any(|one| one.as_bytes().eq_ignore_ascii_case(&name))
}

fn string(line: &mut Vec<u8>, bytes: &[u8]) {
    line.push(b'"');
    escape(line, bytes);
    line.push(b'"');
}

/// Whether there is a byte that JSON wants escaped, or that may be no UTF-8. Eight at once: most values are too short for
/// the compiler's own vectors.
fn has_special(bytes: &[u8]) -> bool {
    const ONES: u64 = u64::MAX / 255;
    // The high bit of a byte that is special, and perhaps of some above it: enough to know that there is one.
    let special = |word: u64| {
        let zero = |word: u64| word.wrapping_sub(ONES) & !word;
        let quote = zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\')));
        let control = word.wrapping_sub(ONES * 0x20) | word.wrapping_add(ONES);
        (quote | control | word) & (ONES << 7)
    };
    let Some(last) = bytes.last_chunk() else {
        return bytes.iter().any(|b| !(0x20..0x7f).contains(b) || matches!(b, b'"' | b'\\'));
    };
    let words = bytes.as_chunks().0.iter().chain([last]);
    words.fold(0, |found, word| found | special(u64::from_le_bytes(*word))) != 0
}

/// RFC 8259 §7. Bytes that are no UTF-8, as old user agents send, become U+FFFD.
fn escape(line: &mut Vec<u8>, bytes: &[u8]) {
    if !has_special(bytes) {
        return line.extend_from_slice(bytes);
    }
    for c in String::from_utf8_lossy(bytes).chars() {
        match c {
            '"' => line.extend_from_slice(b"\\\""),
            '\\' => line.extend_from_slice(b"\\\\"),
            '\u{0}'..='\u{1f}' | '\u{7f}' => {
                line.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes());
            }
            c => line.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(format: LogFormat, agent: &[u8], uri: &str) -> Vec<u8> {
        line_of(format, agent, uri, Said::default())
    }

    /// What policies left to be said.
    #[derive(Clone, Copy, Default)]
    struct Said<'a> {
        problem: Option<&'a Problem>,
        limited: Option<&'a Limited>,
        unenforced: Option<&'a Unenforced>,
        decision: Option<&'a PolicyDecision>,
    }

    fn line_of(format: LogFormat, agent: &[u8], uri: &str, said: Said<'_>) -> Vec<u8> {
        let Said { problem, limited, unenforced, decision } = said;
        let agent = HeaderValue::from_bytes(agent).ok();
        let record = Record {
            time: Utc { second: *b"2024-01-15T10:30:00", nanos: 1_000_020 },
            id: None,
            client: Some("192.0.2.7".parse().unwrap()),
            scheme: Scheme::Https,
            host: None,
            method: &Method::GET,
            uri: &uri.parse().unwrap(),
            user_agent: agent.as_ref(),
            route: &RouteLabels { endpoint: "/a/*".to_owned(), service: "a".to_owned() },
            status: 200,
            reason: None,
            problem,
            broke_for: None,
            principal: None,
            endpoint: None,
            limited,
            unenforced,
            cached: None,
            decision,
            took: Duration::from_nanos(45_167),
            bytes_in: 0,
            bytes_out: 5,
        };
        let mut line = Vec::new();
        write(&mut line, &record, format, &["token".to_owned()]);
        line
    }

    #[test]
    fn a_line_says_what_is_known_and_hides_what_is_secret() {
        let text =
            String::from_utf8(line(LogFormat::Json, b"curl", "/a?x=1&token=abc&Token=d&%74oke%6E=e&y"))
                .unwrap();
        assert_eq!(
            text,
            "{\"time\":\"2024-01-15T10:30:00.001000020Z\",\"id\":null,\"client\":\"192.0.2.7\",\"method\":\"GET\",\
             \"host\":\"\",\"uri\":\"/a?x=1&token=redacted&Token=redacted&%74oke%6E=redacted&y\",\"route\":\"/a/*\",\"service\":\"a\",\
             \"upstream\":null,\"status\":200,\"reason\":null,\"user\":null,\"duration_ms\":0.045,\"bytes_in\":0,\
             \"bytes_out\":5,\"user_agent\":\"curl\"}\n"
        );
    }

    #[test]
    fn a_limit_that_refused_or_would_have_is_named_at_the_end() {
        for (limited, end) in [
            (None, "\"user_agent\":\"curl\"}\n"),
            (Some(Limited::By("standard".into())), "\"user_agent\":\"curl\",\"limited_by\":\"standard\"}\n"),
            (Some(Limited::Would("new".into())), "\"user_agent\":\"curl\",\"would_limit\":\"new\"}\n"),
        ] {
            let said = Said { limited: limited.as_ref(), ..Said::default() };
            let text = String::from_utf8(line_of(LogFormat::Json, b"curl", "/", said)).unwrap();
            assert!(text.ends_with(end), "{text}");
        }
    }

    #[test]
    fn a_refusal_that_is_only_reported_is_named_by_its_code_or_by_its_status() {
        use gateway_core::Code;
        use http::StatusCode;
        for (status, code, end) in [
            (
                StatusCode::UNAUTHORIZED,
                Some(Code::MissingCredentials),
                "\"would_refuse\":\"missing-credentials\"}\n",
            ),
            (StatusCode::FOUND, None, "\"would_refuse\":\"302\"}\n"),
        ] {
            let said = Said { unenforced: Some(&Unenforced { status, code }), ..Said::default() };
            let text = String::from_utf8(line_of(LogFormat::Json, b"curl", "/", said)).unwrap();
            assert!(text.ends_with(end), "{text}");
        }
    }

    #[test]
    fn what_the_gateway_answers_itself_is_explained_at_the_end() {
        use gateway_core::{Code, ProxyError};
        for (problem, end) in [
            (Problem::new(Code::NoRoute), "\"user_agent\":\"curl\"}\n"),
            (
                Problem::new(Code::Forbidden).with_detail("not for \"guests\""),
                "\"user_agent\":\"curl\",\"detail\":\"not for \\\"guests\\\"\"}\n",
            ),
            (
                Problem::new(Code::NoEndpoint),
                "\"user_agent\":\"curl\",\"error\":\"destination_unavailable\"}\n",
            ),
            (
                Problem::new(Code::UpstreamConnectFailed)
                    .with_proxy_error(ProxyError::DnsError)
                    .with_detail("no such name"),
                "\"user_agent\":\"curl\",\"error\":\"dns_error\",\"detail\":\"no such name\"}\n",
            ),
        ] {
            let said = Said { problem: Some(&problem), ..Said::default() };
            let text = String::from_utf8(line_of(LogFormat::Json, b"curl", "/", said)).unwrap();
            assert!(text.ends_with(end), "{text}");
        }
    }

    #[test]
    fn policies_that_were_asked_are_named_at_the_end() {
        let decision = |allowed, policies: &[&str], errors: &[&str]| PolicyDecision {
            allowed,
            policies: policies.iter().map(|&id| id.to_owned()).collect(),
            errors: errors.iter().map(|&why| why.to_owned()).collect(),
        };
        for (decision, end) in [
            (
                decision(true, &["readers", "a\"b"], &[]),
                r#","decision":"allow","policies":["readers","a\"b"]}"#,
            ),
            (decision(false, &[], &[]), r#","decision":"deny","policies":[]}"#),
            (decision(false, &[], &["a secret"]), r#","decision":"error","policies":[]}"#),
        ] {
            let said = Said { decision: Some(&decision), ..Said::default() };
            let line = line_of(LogFormat::Json, b"curl", "/", said);
            let text = String::from_utf8(line).unwrap();
            assert!(text.trim_end().ends_with(end), "{text}");
        }
    }

    #[test]
    fn s4_32_the_format_of_the_platform_has_its_fields_in_its_order() {
        let text = String::from_utf8(line(LogFormat::ApiGateway, b"curl", "/a?x=1&token=abc")).unwrap();
        assert_eq!(
            text,
            "{\"timestamp\":\"2024-01-15T10:30:00.001000020Z\",\"message\":\"API Gateway Request\",\"method\":\"GET\",\
             \"url\":\"https:///a?x=1&token=redacted\",\"status_code\":200,\"duration_ms\":0.045,\"user_id\":null,\
             \"correlation_id\":null,\"user_agent\":\"curl\",\"ip_address\":\"192.0.2.7\"}\n"
        );
    }

    proptest! {
        #[test]
        fn what_is_special_is_found_wherever_it_stands(
            plain in "[ !#-\\[\\]-~]{0,40}", special in prop::option::of(any::<u8>()), at in any::<prop::sample::Index>(),
        ) {
            let mut bytes = plain.into_bytes();
            if let Some(byte) = special {
                bytes.insert(at.index(bytes.len() + 1), byte);
            }
            let is_special = |b: &u8| *b < 0x20 || *b >= 0x7f || *b == b'"' || *b == b'\\';
            prop_assert_eq!(has_special(&bytes), bytes.iter().any(is_special));
        }

        #[test]
        fn every_line_is_one_json_object_that_says_the_same(agent in prop::collection::vec(any::<u8>(), 0..60)) {
            for format in [LogFormat::Json, LogFormat::Echo, LogFormat::ApiGateway] {
                let line = line(format, &agent, "/");
                let (last, rest) = line.split_last().unwrap();
                prop_assert_eq!(*last, b'\n');
                prop_assert!(!rest.contains(&b'\n'));
                let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
                if HeaderValue::from_bytes(&agent).is_ok() {
                    prop_assert_eq!(value["user_agent"].as_str().unwrap(), String::from_utf8_lossy(&agent));
                }
            }
        }
    }
}
