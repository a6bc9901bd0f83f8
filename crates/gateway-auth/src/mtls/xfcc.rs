//! Envoy's `x-forwarded-client-cert`.

use gateway_core::{Certificate, ClientCertificate};

/// The certificate of the last element: the one that whoever wrote the header was shown itself. Elements before it
/// may come from anybody.
///
/// `Key=value` pairs apart by `;`, elements apart by `,`; a value with one of `,;=` is in double quotes, in which a
/// backslash stands before a double quote. `None` if this is malformed or names nothing.
pub(crate) fn last(header: &str) -> Option<ClientCertificate> {
    let element = split(header, ',').ok()?.pop()?;
    let mut found = Certificate::default();
    for pair in split(element, ';').ok()? {
        let (key, value) = pair.trim().split_once('=')?;
        let value = unquoted(value)?;
        if value.is_empty() {
            continue;
        }
        match key.to_ascii_lowercase().as_str() {
            "hash" => found.fingerprint = Some(value.to_ascii_lowercase()),
            "subject" => found.subject = Some(value),
            "uri" => found.uris.push(value),
            "dns" => found.dns.push(value),
            // Ours, and the certificate itself, which says nothing else.
            _ => {}
        }
    }
    (found != Certificate::default()).then(|| ClientCertificate::new(found))
}

/// The parts between separators that do not stand in quotes.
fn split(text: &str, separator: char) -> Result<Vec<&str>, ()> {
    let (mut parts, mut begin, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            c if c == separator && !quoted => {
                parts.push(&text[begin..at]);
                begin = at + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[begin..]);
    if quoted { Err(()) } else { Ok(parts) }
}

fn unquoted(value: &str) -> Option<String> {
    let Some(inner) = value.strip_prefix('"') else {
        return (!value.contains('"')).then(|| value.to_owned());
    };
    let inner = inner.strip_suffix('"')?;
    let (mut plain, mut chars) = (String::with_capacity(inner.len()), inner.chars());
    while let Some(c) = chars.next() {
        match c {
            '\\' => plain.push(chars.next()?),
            '"' => return None,
            c => plain.push(c),
        }
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_last_element_is_read_with_its_quotes() {
        let header = r#"By=spiffe://x/front;Hash=ABC;URI=spiffe://x/forged,By=spiffe://x/gw;Hash=468ED33be;Subject="CN=a \"b\", O=Shop;=,";URI=spiffe://x/orders;DNS=a.example;DNS=b.example"#;
        let found = last(header).unwrap();
        assert_eq!(found.subject.as_deref(), Some(r#"CN=a "b", O=Shop;=,"#));
        assert_eq!(found.fingerprint.as_deref(), Some("468ed33be"));
        assert_eq!(found.spiffe_id(), Some("spiffe://x/orders"));
        assert_eq!(found.dns, ["a.example", "b.example"]);
    }

    #[test]
    fn what_is_malformed_or_names_nothing_is_nobody() {
        for header in [
            "",
            ",",
            ";",
            "x",
            "Hash",
            "Hash=",
            "By=spiffe://x",
            "Subject=\"CN=a",
            "Subject=\"a\"b\"",
            "Hash=a,",
        ] {
            assert_eq!(last(header), None, "{header}");
        }
    }

    proptest! {
        #[test]
        fn a_quoted_subject_is_read_back_and_hides_no_element(subject in "[a-zA-Z,;=\" \\\\]{1,20}") {
            let escaped = subject.replace('\\', "\\\\").replace('"', "\\\"");
            let found = last(&format!("Hash=1,Subject=\"{escaped}\";Hash=2")).unwrap();
            prop_assert_eq!(found.subject.as_deref(), Some(subject.as_str()));
            prop_assert_eq!(found.fingerprint.as_deref(), Some("2"));
        }

        #[test]
        fn nothing_makes_it_panic(header in "\\PC{0,60}") {
            let _ = last(&header);
        }
    }
}
