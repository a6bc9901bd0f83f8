use crate::credential::challenge;
use crate::identity::name::is_held_by;
use crate::method::{Check, Head, Method, Verdict};
use crate::mtls::settings::{AllowedCertificates, CertificateName, MtlsSettings};
use crate::mtls::xfcc;
use crate::{AuthError, HeaderNames};
use gateway_core::{AuthMethod, ClientCertificate, Code, Network, Principal, Problem};
use http::header::WWW_AUTHENTICATE;
use http::{Extensions, HeaderName, HeaderValue, request};
use serde_json::{Map, Value};

/// Recognises callers by the certificate that they showed to the listener ([`ClientCertificate`]) or to a trusted
/// proxy (`x-forwarded-client-cert`).
///
/// | certificate | answer |
/// |---|---|
/// | none | 401 `missing-credentials`, unless another method finds something |
/// | not on the list, or without the name that is asked for | 401 `invalid-credentials`, unless another method knows the caller |
/// | on the list | passes with the claims `spiffe_id`, `dns`, `uris`, `emails`, `subject`, `fingerprint` |
#[derive(Clone, Debug)]
pub struct MtlsMethod {
    header: HeaderName,
    trusted: Vec<Network>,
    allow: AllowedCertificates,
    anybody: bool,
    principal: CertificateName,
    hide: bool,
    challenge: HeaderValue,
}

impl MtlsMethod {
    /// A method that believes these proxies and lets these certificates pass.
    ///
    /// # Errors
    /// The header has no name, or an entry of a list can match nothing.
    pub fn new(settings: &MtlsSettings) -> Result<Self, AuthError> {
        let header = settings.header.parse().map_err(|_| AuthError::Header(settings.header.clone()))?;
        let mut allow = settings.allow.clone();
        if let Some(id) = allow.spiffe.iter().find(|id| !id.starts_with("spiffe://")) {
            return Err(AuthError::Certificate(format!("`{id}` is no SPIFFE id; expected `spiffe://…`")));
        }
        let halves =
            |text: &&String| text.contains('*') && !(text.ends_with("/*") && text.matches('*').count() == 1);
        if let Some(id) = allow.spiffe.iter().find(halves) {
            return Err(AuthError::Certificate(format!(
                "`{id}` has a `*` that does not stand for a path; expected `spiffe://DOMAIN/*`"
            )));
        }
        let halves = |text: &&String| {
            text.contains('*') && !(text.starts_with("*.") && text.matches('*').count() == 1)
        };
        if let Some(name) = allow.dns.iter().find(halves) {
            return Err(AuthError::Certificate(format!(
                "`{name}` has a `*` that does not stand for whole labels; expected `*.DOMAIN`"
            )));
        }
        for fingerprint in &mut allow.fingerprints {
            let digits = fingerprint.replace(':', "").to_ascii_lowercase();
            if digits.len() != 64 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                let why =
                    format!("`{fingerprint}` is no SHA-256 fingerprint; expected 64 hexadecimal digits");
                return Err(AuthError::Certificate(why));
            }
            *fingerprint = digits;
        }
        let AllowedCertificates { spiffe, dns, subjects, fingerprints } = &allow;
        let anybody = [spiffe, dns, subjects, fingerprints].iter().all(|list| list.is_empty());
        Ok(Self {
            header,
            trusted: settings.trusted_proxies.clone(),
            anybody,
            allow,
            principal: settings.principal,
            hide: settings.hide_credentials,
            challenge: challenge("ClientCertificate", "gateway", ""),
        })
    }

    /// Whether whoever holds the connection may say what certificate it was shown.
    fn is_trusted(&self, facts: &Extensions) -> bool {
        is_held_by(facts, &self.trusted)
    }

    fn verdict(&self, certificate: &ClientCertificate) -> Verdict {
        let why = match self.name(certificate) {
            Some(id) if self.anybody || self.allow.contains(certificate) => {
                return Verdict::passed(Principal::new(
                    id,
                    AuthMethod::ClientCertificate,
                    claims(certificate),
                ));
            }
            Some(_) => "the client certificate is not on the list",
            None => "the client certificate does not have the name that is asked for",
        };
        Verdict::Foreign(self.problem(why).into())
    }

    fn problem(&self, why: &'static str) -> Problem {
        let problem = Problem::new(Code::InvalidCredentials).with_detail(why);
        problem.with_header(WWW_AUTHENTICATE, self.challenge.clone())
    }

    fn name<'a>(&self, certificate: &'a ClientCertificate) -> Option<&'a str> {
        let (dns, subject) = (certificate.dns.first().map(String::as_str), certificate.subject.as_deref());
        let fingerprint = certificate.fingerprint.as_deref();
        match self.principal {
            CertificateName::Auto => certificate.spiffe_id().or(dns).or(subject).or(fingerprint),
            CertificateName::Spiffe => certificate.spiffe_id(),
            CertificateName::Dns => dns,
            CertificateName::Subject => subject,
            CertificateName::Fingerprint => fingerprint,
        }
    }
}

impl AllowedCertificates {
    fn contains(&self, certificate: &ClientCertificate) -> bool {
        let begins = |pattern: &String, id: &str| match pattern.strip_suffix('*') {
            Some(begin) => id.starts_with(begin),
            None => id == pattern,
        };
        // RFC 4343: names are compared whatever their case.
        let ends = |pattern: &String, name: &str| match pattern.strip_prefix('*') {
            Some(end) => name.to_ascii_lowercase().ends_with(&end.to_ascii_lowercase()),
            None => name.eq_ignore_ascii_case(pattern),
        };
        let is_in = |list: &[String], value: Option<&str>| {
            value.is_some_and(|value| list.iter().any(|allowed| allowed == value))
        };
        certificate.spiffe_id().is_some_and(|id| self.spiffe.iter().any(|pattern| begins(pattern, id)))
            || certificate.dns.iter().any(|name| self.dns.iter().any(|pattern| ends(pattern, name)))
            || is_in(&self.subjects, certificate.subject.as_deref())
            || is_in(&self.fingerprints, certificate.fingerprint.as_deref())
    }
}

fn claims(certificate: &ClientCertificate) -> Map<String, Value> {
    let mut claims = Map::new();
    let texts = [
        ("spiffe_id", certificate.spiffe_id()),
        ("subject", certificate.subject.as_deref()),
        ("fingerprint", certificate.fingerprint.as_deref()),
    ];
    for (name, value) in texts {
        if let Some(value) = value {
            claims.insert(name.to_owned(), value.into());
        }
    }
    let lists = [("dns", &certificate.dns), ("uris", &certificate.uris), ("emails", &certificate.emails)];
    for (name, list) in lists {
        if !list.is_empty() {
            claims.insert(name.to_owned(), list.clone().into());
        }
    }
    claims
}

impl Method for MtlsMethod {
    fn check(&self, head: Head<'_>) -> Check {
        if !self.is_trusted(head.extensions) {
            let shown = head.extensions.get::<ClientCertificate>();
            return Check::Done(shown.map_or(Verdict::Absent, |shown| self.verdict(shown)));
        }
        // A trusted proxy's own certificate says who the proxy is, not who asks through it.
        let Some(header) = head.headers.get_all(&self.header).iter().next_back() else {
            return Check::Done(Verdict::Absent);
        };
        Check::Done(match header.to_str().ok().and_then(xfcc::last) {
            Some(certificate) => self.verdict(&certificate),
            None => Verdict::Refused(
                self.problem("the proxy's word on the client certificate is malformed").into(),
            ),
        })
    }

    fn challenge(&self) -> Option<&HeaderValue> {
        Some(&self.challenge)
    }

    fn strips(&self) -> bool {
        true
    }

    fn sets(&self) -> HeaderNames {
        HeaderNames::default().unless_from(self.header.clone(), &self.trusted)
    }

    fn reads(&self) -> Vec<HeaderName> {
        vec![self.header.clone()]
    }

    fn strip(&self, request: &mut request::Parts) {
        if self.hide || !self.is_trusted(&request.extensions) {
            request.headers.remove(&self.header);
        }
    }
}
