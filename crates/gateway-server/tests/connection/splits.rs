//! What the client sends may arrive in any pieces, and may be anything.

use crate::support::{answer, connect_with, echo};
use gateway_server::Limits;
use proptest::prelude::*;
use tokio::io::AsyncWriteExt;

/// What the server answers to bytes that arrive in pieces as long as `cuts` say, then no more.
fn answers(wire: &[u8], cuts: &[usize]) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build_local(Default::default())
        .unwrap();
    runtime.block_on(async {
        let mut client = connect_with(answer(echo), Limits::default(), 1024 * 1024);
        let (mut rest, mut cuts) = (wire, cuts.iter().cycle());
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
            // It may be closed by now: what follows then is not to be answered.
            if client.io.write_all(piece).await.is_err() {
                break;
            }
            for _ in 0..4 {
                tokio::task::yield_now().await;
            }
            rest = after;
        }
        client.rest().await
    })
}

fn request() -> impl Strategy<Value = String> {
    let body = "[a-z]{0,20}";
    prop_oneof![
        "[a-z]{0,9}".prop_map(|path| format!("GET /{path} HTTP/1.1\r\nhost: a\r\n\r\n")),
        "[a-z]{0,9}".prop_map(|path| format!("HEAD /{path} HTTP/1.1\r\nhost: a\r\n\r\n")),
        body.prop_map(|body| format!("POST / HTTP/1.1\r\ncontent-length: {}\r\n\r\n{body}", body.len())),
        (body, body).prop_map(|(first, second)| {
            let chunk = |body: &str| match body.len() {
                0 => String::new(),
                length => format!("{length:x};x=y\r\n{body}\r\n"),
            };
            format!(
                "PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n{}{}0\r\nx: y\r\n\r\n",
                chunk(&first),
                chunk(&second)
            )
        }),
        Just("\r\nGET /empty-line HTTP/1.1\r\n\r\n".to_owned()),
        Just("GET /old HTTP/1.0\r\nconnection: keep-alive\r\n\r\n".to_owned()),
        Just(
            "GET /upgrade HTTP/1.1\r\nconnection: upgrade\r\nupgrade: x\r\nconnection: close\r\n\r\n"
                .to_owned()
        ),
        Just("POST / HTTP/1.1\r\ncontent-length: 1, 2\r\n\r\n".to_owned()),
        Just("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn how_requests_are_cut_into_pieces_makes_no_difference(
        requests in prop::collection::vec(request(), 1..6),
        cuts in prop::collection::vec(1usize..40, 1..10),
    ) {
        let wire = requests.concat();
        let whole = answers(wire.as_bytes(), &[usize::MAX]);
        prop_assert_eq!(&answers(wire.as_bytes(), &cuts), &whole);
        prop_assert_eq!(&answers(wire.as_bytes(), &[1]), &whole);
        prop_assert!(whole.matches("HTTP/1.1 ").count() <= requests.len(), "{}", whole);
    }

    #[test]
    fn whatever_is_sent_the_server_answers_and_ends(
        parts in prop::collection::vec(
            prop_oneof![
                request().prop_map(String::into_bytes),
                prop::collection::vec(any::<u8>(), 0..60),
                Just(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
                Just(b"\r\n".to_vec()),
            ],
            0..6,
        ),
        cuts in prop::collection::vec(1usize..80, 1..10),
    ) {
        // It ends at the latest by a timeout, and does not panic: `rest` would find it still open, or reset.
        answers(&parts.concat(), &cuts);
    }

    #[test]
    fn one_byte_that_is_wrong_yields_no_more_answers_than_requests(
        requests in prop::collection::vec(request(), 1..5),
        at: prop::sample::Index,
        byte: u8,
    ) {
        let mut wire = requests.concat().into_bytes();
        let at = at.index(wire.len());
        wire[at] = byte;
        // A change can make two requests of one only where there is a second line that reads like a request.
        let lines = String::from_utf8_lossy(&wire).matches("HTTP/1").count() + 1;
        let seen = answers(&wire, &[usize::MAX]);
        prop_assert!(seen.matches("HTTP/1.1 ").count() <= lines, "{:?}: {}", String::from_utf8_lossy(&wire), seen);
    }
}
