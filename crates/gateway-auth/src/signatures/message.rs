//! HTTP Message Signatures (RFC 9421).

use crate::method::Head;
use crate::signatures::base::{Covered, field};
use crate::signatures::digest;
use crate::signatures::key::Signer;
use crate::signatures::settings::SignatureSettings;
use crate::signatures::verdict::{Signed, Verified, bad};
use sfv::{BareItem, Dictionary, InnerList, Key, ListEntry, Parser, StringRef};
use std::borrow::Cow;

type Why = Cow<'static, str>;

/// Each costs a signature check.
const MAX_TRIES: usize = 4;
const MAX_NONCE: usize = 256;

/// What there is of signatures: what they cover by label, and the signatures themselves.
struct Fields {
    inputs: Dictionary,
    signatures: Dictionary,
}

impl Fields {
    fn of(head: Head<'_>) -> Result<Option<Self>, Why> {
        let there = |name: &str| head.headers.contains_key(name);
        match (there("signature-input"), there("signature")) {
            (false, false) => return Ok(None),
            (true, true) => {}
            _ => return bad("there is one of `Signature` and `Signature-Input` without the other"),
        }
        let parse = |name| {
            let text = field(name, head.headers)?;
            let parsed = Parser::new(text.as_ref()).parse::<Dictionary>();
            parsed.map_err(|_| Why::from(format!("`{name}` is not a dictionary (RFC 9651)")))
        };
        Ok(Some(Self { inputs: parse("signature-input")?, signatures: parse("signature")? }))
    }

    /// Those that these keys may have made.
    fn candidates<'a>(
        &'a self,
        settings: &'a SignatureSettings,
        keys: &'a [Signer],
    ) -> impl Iterator<Item = (&'a Key, &'a InnerList, &'a str)> {
        let lists = self.inputs.iter().filter_map(|(label, entry)| match entry {
            ListEntry::InnerList(list) => Some((label, list, text(list, "keyid")?)),
            ListEntry::Item(_) => None,
        });
        lists
            .filter(|(_, list, _)| settings.tag.as_deref().is_none_or(|tag| text(list, "tag") == Some(tag)))
            .filter(|(_, _, id)| keys.iter().any(|key| *key.id == **id))
            .take(MAX_TRIES)
    }
}

fn text<'a>(list: &'a InnerList, name: &str) -> Option<&'a str> {
    list.params.get(name)?.as_string().map(StringRef::as_str)
}

fn time(list: &InnerList, name: &str) -> Result<Option<f64>, Why> {
    match list.params.get(name).map(BareItem::as_integer) {
        None => Ok(None),
        Some(Some(seconds)) => Ok(Some(i64::from(seconds) as f64)),
        Some(None) => bad(format!("`{name}` of the signature is no integer")),
    }
}

/// Whether the body is needed: there is a signature that is not refused for its time alone.
pub(crate) fn wants_body(settings: &SignatureSettings, keys: &[Signer], head: Head<'_>, now: f64) -> bool {
    match Fields::of(head) {
        Ok(Some(fields)) => {
            fields.candidates(settings, keys).any(|(_, list, _)| end(settings, list, now).is_ok())
        }
        _ => false,
    }
}

/// Looks for a good signature. The body is `None` where nobody read it.
pub(crate) fn verify(
    settings: &SignatureSettings,
    keys: &[Signer],
    head: Head<'_>,
    body: Option<&[u8]>,
    now: f64,
) -> Verified {
    let fields = match Fields::of(head) {
        Ok(Some(fields)) => fields,
        Ok(None) => return Verified::Absent,
        Err(why) => return Verified::Bad(why),
    };
    let mut first = None;
    for (label, list, id) in fields.candidates(settings, keys) {
        let keys = keys.iter().filter(|key| *key.id == *id);
        match one(settings, keys, (list, fields.signatures.get(label)), head, body, now) {
            Ok(signed) => return Verified::Good(signed),
            Err(why) => drop(first.get_or_insert(why)),
        }
    }
    match first {
        Some(why) => Verified::Bad(why),
        None => Verified::Foreign("no signature is by a key that is known here".into()),
    }
}

fn one<'k>(
    settings: &SignatureSettings,
    mut keys: impl Iterator<Item = &'k Signer>,
    (list, signature): (&InnerList, Option<&ListEntry>),
    head: Head<'_>,
    body: Option<&[u8]>,
    now: f64,
) -> Result<Signed, Why> {
    let end = end(settings, list, now)?;
    let nonce = match list.params.get("nonce") {
        None if settings.require_nonce => return bad("the signature has no `nonce`"),
        None => None,
        Some(nonce) => match nonce.as_string().map(StringRef::as_str) {
            Some(nonce) if !nonce.is_empty() && nonce.len() <= MAX_NONCE => Some(nonce),
            _ => return bad("`nonce` of the signature is no text of 1 to 256 characters"),
        },
    };
    let covered = Covered::new(list)?;
    required(settings, &covered)?;
    if settings.content_digest && !covered.has("content-digest") && body.is_none_or(|body| !body.is_empty()) {
        return bad("the signature does not cover `content-digest`, and the request has a body");
    }
    let Some(ListEntry::Item(signature)) = signature else {
        return bad("`Signature` has nothing by the label of `Signature-Input`");
    };
    let Some(signature) = signature.bare_item.as_byte_sequence() else {
        return bad("`Signature` holds no bytes");
    };
    let base = covered.base(list, head)?;
    let algorithm = list.params.get("alg");
    let is_of_key = |key: &Signer| {
        algorithm
            .is_none_or(|name| name.as_string().is_some_and(|name| name.as_str() == key.algorithm.name()))
    };
    let Some(key) = keys.find(|key| is_of_key(key) && key.verify(base.as_bytes(), signature)) else {
        return bad("the signature is not that of the request");
    };
    if covered.has("content-digest") {
        let Some(body) = body else { return bad("the body was not read, and its digest is signed") };
        digest::is_of(&field("content-digest", head.headers)?, body).map_err(Why::from)?;
    }
    let once = match nonce {
        Some(nonce) => [key.id.as_bytes(), b"\0nonce\0", nonce.as_bytes()].concat(),
        // Not the signature: of some algorithms there are several for the same text.
        None => [key.id.as_bytes(), b"\0base\0", base.as_bytes()].concat(),
    };
    Ok(Signed { principal: key.principal.clone(), once, end })
}

/// When a signature is no longer good; or why it is not now.
fn end(settings: &SignatureSettings, list: &InnerList, now: f64) -> Result<f64, Why> {
    let window = settings.window.as_secs_f64();
    let Some(created) = time(list, "created")? else {
        return bad("the signature does not say when it was `created`");
    };
    if now > created + window {
        return bad("the signature has expired");
    }
    if created > now + window {
        return bad("the signature is not valid yet");
    }
    match time(list, "expires")? {
        Some(expires) if now >= expires => bad("the signature has expired"),
        Some(expires) => Ok(expires.min(created + window)),
        None => Ok(created + window),
    }
}

/// Whether all is covered that must be.
fn required(settings: &SignatureSettings, covered: &Covered<'_>) -> Result<(), Why> {
    let lacks = |name: &str| !covered.has(name);
    if let Some(name) = settings.components.iter().find(|name| lacks(name)) {
        return bad(format!("the signature does not cover `{name}`"));
    }
    if !settings.components.is_empty() {
        return Ok(());
    }
    if lacks("@method") {
        return bad("the signature does not cover `@method`");
    }
    if lacks("@target-uri") && ["@authority", "@path", "@query"].into_iter().any(lacks) {
        return bad("the signature does not cover `@target-uri`, nor `@authority`, `@path` and `@query`");
    }
    Ok(())
}
