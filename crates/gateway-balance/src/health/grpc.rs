//! The gRPC health checking protocol, `grpc.health.v1`.

use super::Flaw;
use super::http::{collect, request};
use super::settings::HealthSettings;
use bytes::Bytes;
use gateway_core::{BoxError, Endpoint, Upstream};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE};
use http::{Method, Response};
use http_body::Body;
use http_body_util::Full;

const CHECK: &str = "/grpc.health.v1.Health/Check";
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// `HealthCheckResponse.ServingStatus.SERVING`.
const SERVING: u64 = 1;

pub(super) async fn check<U>(upstream: &U, endpoint: &Endpoint, settings: &HealthSettings) -> Result<(), Flaw>
where
    U: Upstream<Full<Bytes>>,
    U::Body: Body<Data = Bytes, Error: Into<BoxError>>,
{
    let mut request = request(endpoint, settings, Method::POST, CHECK, question(&settings.service))?;
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
    let (head, body) = request.into_parts();
    let response = upstream.send(&head, body).await?;
    Ok(judge(response).await?)
}

async fn judge<B>(response: Response<B>) -> Result<(), String>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    if response.status() != 200 {
        return Err(format!("{CHECK} answered {}, expected 200", response.status()));
    }
    let failed = |headers: &HeaderMap| {
        let status = headers.get(STATUS)?.to_str().unwrap_or("?").to_owned();
        (status != "0").then(|| format!("{CHECK} failed with grpc-status {status}"))
    };
    // A call that fails at once has its status in the head.
    if let Some(why) = failed(response.headers()) {
        return Err(why);
    }
    let answer = collect(response).await?;
    if let Some(why) = answer.trailers().and_then(failed) {
        return Err(why);
    }
    match serving_status(&answer.to_bytes()) {
        Some(SERVING) => Ok(()),
        Some(other) => Err(format!("{CHECK} answered serving status {other}, expected {SERVING}")),
        None => Err(format!("{CHECK} answered with no message that can be read")),
    }
}

/// `HealthCheckRequest { string service = 1; }`, uncompressed and with its length in front.
fn question(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        put_varint(service.len() as u64, &mut message);
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = vec![0];
    framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
    framed.append(&mut message);
    framed.into()
}

/// `HealthCheckResponse { ServingStatus status = 1; }`: the status, which is 0 where it is left out.
fn serving_status(framed: &[u8]) -> Option<u64> {
    let (prefix, rest) = framed.split_at_checked(5)?;
    let [0, a, b, c, d] = *prefix else { return None };
    let mut message = rest.get(..u32::from_be_bytes([a, b, c, d]) as usize)?;
    let mut status = 0;
    while !message.is_empty() {
        let key = take_varint(&mut message)?;
        let skipped = match key & 7 {
            0 => {
                let value = take_varint(&mut message)?;
                status = if key >> 3 == 1 { value } else { status };
                0
            }
            1 => 8,
            2 => usize::try_from(take_varint(&mut message)?).ok()?,
            5 => 4,
            _ => return None,
        };
        message = message.get(skipped..)?;
    }
    Some(status)
}

fn put_varint(mut number: u64, to: &mut Vec<u8>) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

fn take_varint(from: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_question_names_the_service() {
        assert_eq!(question("").as_ref(), [0, 0, 0, 0, 0]);
        assert_eq!(question("ab").as_ref(), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        let long = question(&"x".repeat(300));
        assert_eq!((long.len(), &long[..8]), (5 + 3 + 300, &[0, 0, 0, 1, 47, 0x0a, 0xac, 0x02][..]));
    }

    #[test]
    fn the_answer_is_read_whatever_else_it_holds() {
        for (message, expected) in [
            (&[0x08, 1][..], Some(1)),
            (&[0x08, 2], Some(2)),
            (&[], Some(0)),
            (&[0x12, 2, 9, 9, 0x08, 1, 0x1d, 1, 2, 3, 4], Some(1)),
            (&[0x08], None),
            (&[0x12, 9, 1], None),
            (&[0x0b], None),
        ] {
            let mut framed = vec![0, 0, 0, 0, message.len() as u8];
            framed.extend_from_slice(message);
            assert_eq!(serving_status(&framed), expected, "{message:?}");
        }
        assert_eq!(serving_status(&[1, 0, 0, 0, 0]), None, "compressed");
        assert_eq!(serving_status(&[0, 0, 0, 0, 2, 8]), None, "cut off");
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = serving_status(&bytes);
        }
    }
}
