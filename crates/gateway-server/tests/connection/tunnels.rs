use crate::support::*;
use gateway_core::Upgrade;
use gateway_server::RequestBody;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn switching(protocol: &str, body: AnyBody) -> Response<AnyBody> {
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header("upgrade", protocol)
        .body(body)
        .unwrap()
}

/// Sends back what comes.
async fn echoing(request: Request<RequestBody>) -> Response<AnyBody> {
    let Upgrade(protocol) = request.extensions().get::<Upgrade>().expect("it is an upgrade").clone();
    switching(protocol.to_str().unwrap(), boxed(request.into_body()))
}

fn asks_for(protocol: &str) -> String {
    format!("GET / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: {protocol}\r\n\r\n")
}

fn head(protocol: &str) -> String {
    format!("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: {protocol}\r\n\r\n")
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_tunnel_carries_bytes_both_ways_until_the_client_ends_it() {
    let mut client = connect(answer(echoing));
    client.send(asks_for("chat") + "early").await;
    assert_eq!(client.until("early").await, head("chat") + "early");
    client.send("GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!(client.until("\r\n\r\n").await, "GET / HTTP/1.1\r\n\r\n");
    client.io.shutdown().await.unwrap();
    assert_eq!(client.rest().await, "");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_tunnel_whose_client_has_sent_all_goes_on_in_the_other_direction() {
    let script = Script::default();
    let body = script.clone();
    let mut client = connect(answer(move |request: Request<RequestBody>| {
        let body = body.clone();
        tokio::task::spawn_local(async move {
            let all = request.into_body().collect().await.unwrap().to_bytes();
            body.data(format!("you said {}", String::from_utf8_lossy(&all)));
            body.end();
        });
        let answer = switching("chat", script.body());
        async { answer }
    }));
    client.send(asks_for("chat") + "abc").await;
    client.until(&head("chat")).await;
    client.send("def").await;
    client.io.shutdown().await.unwrap();
    assert_eq!(client.rest().await, "you said abcdef");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_tunnel_whose_service_has_sent_all_goes_on_in_the_other_direction() {
    let said = Rc::new(RefCell::new(None));
    let heard = said.clone();
    let mut client = connect(answer(move |request: Request<RequestBody>| {
        let heard = heard.clone();
        tokio::task::spawn_local(async move {
            *heard.borrow_mut() = Some(request.into_body().collect().await.unwrap().to_bytes());
        });
        let script = Script::of(&["bye"]);
        script.end();
        let answer = switching("chat", script.body());
        async { answer }
    }));
    client.send(asks_for("chat")).await;
    assert_eq!(client.rest().await, head("chat") + "bye");
    client.send("abc").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    client.send("def").await;
    client.io.shutdown().await.unwrap();
    settle().await;
    assert_eq!(said.borrow().as_deref(), Some(&b"abcdef"[..]));
    assert!(client.server.is_finished());
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_silent_tunnel_is_closed() {
    let mut client = connect(answer(echoing));
    client.send(asks_for("chat")).await;
    client.until(&head("chat")).await;
    tokio::time::sleep(Duration::from_secs(299)).await;
    client.send("a").await;
    client.until("a").await;
    let start = tokio::time::Instant::now();
    assert_eq!(client.rest().await, "");
    assert_eq!(start.elapsed().as_secs(), 300);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_refused_upgrade_is_an_answer_like_others() {
    // The body of a tunnel that is not granted ends.
    let mut client = connect(answer(echo_late));
    client.send(asks_for("chat") + "GET /2 HTTP/1.1\r\nconnection: close\r\n\r\n").await;
    assert_eq!(
        client.rest().await,
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n\
         HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
}

async fn echo_late(request: Request<RequestBody>) -> Response<AnyBody> {
    Response::new(boxed(request.into_body()))
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_tunnel_is_read_no_faster_than_it_is_taken() {
    let mut client = connect_with(answer(echoing), gateway_server::Limits::default(), 1024);
    client.send(asks_for("chat")).await;
    client.until(&head("chat")).await;
    let mut sent = 0;
    while let Ok(n) = tokio::time::timeout(Duration::from_secs(1), client.io.write(&[b'x'; 1000])).await {
        sent += n.unwrap();
    }
    assert!(sent < 100_000, "{sent} bytes were taken from a client that takes none");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_draining_websocket_is_told_1001_between_two_frames_and_ends_when_its_client_does() {
    let script = Script::default();
    // A text frame of five bytes of which three are there.
    script.data(&b"\x81\x05abc"[..]);
    let (tell, told) = tokio::sync::oneshot::channel();
    let (body, tell) = (script.clone(), RefCell::new(Some(tell)));
    let mut client = connect(answer(move |request: Request<RequestBody>| {
        let tell = tell.borrow_mut().take().unwrap();
        tokio::task::spawn_local(async move {
            let _ = tell.send(request.into_body().collect().await.unwrap().to_bytes());
        });
        let answer = switching("websocket", body.body());
        async { answer }
    }));
    client.send(asks_for("WebSocket")).await;
    client.until("\u{fffd}\u{5}abc").await;
    client.drain.begin();
    assert!(client.is_silent().await, "it was told within a frame");
    script.data(&b"de\x81\x01f"[..]);
    assert_eq!(client.until("\u{3}\u{fffd}").await, "de\u{fffd}\u{2}\u{3}\u{fffd}");
    script.data(&b"\x81\x01g"[..]);
    assert!(client.is_silent().await, "something follows the close");
    // The client's own close still reaches the service, which then ends.
    client.send(b"\x88\x82abcd\x62\x8b").await;
    client.io.shutdown().await.unwrap();
    assert_eq!(client.rest().await, "");
    assert_eq!(&told.await.unwrap()[..], b"\x88\x82abcd\x62\x8b");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_draining_websocket_that_does_not_end_is_ended() {
    let mut client = connect(answer(echoing));
    client.send(asks_for("websocket")).await;
    client.until(&head("websocket")).await;
    settle().await;
    client.drain.begin();
    let start = tokio::time::Instant::now();
    assert_eq!(client.until("\u{3}\u{fffd}").await, "\u{fffd}\u{2}\u{3}\u{fffd}");
    // Whatever it still says.
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        client.send("\u{1}\u{1}a").await;
    }
    assert_eq!(client.rest().await, "");
    assert_eq!(start.elapsed().as_secs(), 5);
}

/// A client of tunnels that may last a minute.
fn within_a_minute() -> Client {
    let limits =
        gateway_server::Limits { tunnel_max_age: Some(Duration::from_secs(60)), ..Default::default() };
    connect_with(answer(echoing), limits, 1024)
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_websocket_that_has_lasted_long_enough_is_told_1001_however_busy_it_is() {
    let mut client = within_a_minute();
    // The time before does not count.
    tokio::time::sleep(Duration::from_secs(5)).await;
    client.send(asks_for("websocket")).await;
    client.until(&head("websocket")).await;
    let start = tokio::time::Instant::now();
    for _ in 0..53 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        client.send("\u{1}\u{1}a").await;
        client.until("a").await;
    }
    assert_eq!(client.until("\u{3}\u{fffd}").await, "\u{fffd}\u{2}\u{3}\u{fffd}");
    let told = start.elapsed();
    assert!((54..=60).contains(&told.as_secs()), "{told:?}");
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        client.send("\u{1}\u{1}a").await;
    }
    assert_eq!(client.rest().await, "");
    assert_eq!((start.elapsed() - told).as_secs(), 5, "it did not end by itself");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn an_old_websocket_within_a_frame_has_a_little_time_and_other_tunnels_none() {
    for (protocol, seconds) in [("websocket", 59..=65), ("chat", 54..=60)] {
        let mut client = within_a_minute();
        client.send(asks_for(protocol)).await;
        client.until(&head(protocol)).await;
        let start = tokio::time::Instant::now();
        client.send("\u{1}\u{5}abc").await;
        client.until("abc").await;
        assert_eq!(client.rest().await, "", "{protocol}");
        assert!(seconds.contains(&start.elapsed().as_secs()), "{protocol}: {:?}", start.elapsed());
    }
}

/// Counts how often it is asked for more.
struct Counted(RequestBody, Rc<RefCell<usize>>);

impl http_body::Body for Counted {
    type Data = bytes::Bytes;
    type Error = gateway_server::BodyError;
    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, Self::Error>>> {
        *self.1.borrow_mut() += 1;
        std::pin::Pin::new(&mut self.0).poll_frame(cx)
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_message_asks_the_answer_for_itself_and_for_the_next() {
    let asked = Rc::new(RefCell::new(0));
    let counted = asked.clone();
    let echoing = move |request: Request<RequestBody>| {
        let body = Counted(request.into_body(), counted.clone());
        async move { switching("chat", boxed(body)) }
    };
    let mut client = connect(answer(echoing));
    client.send(asks_for("chat")).await;
    client.until(&head("chat")).await;
    // Whoever has nothing to do has done all it will.
    tokio::time::sleep(Duration::from_secs(1)).await;
    for message in ["one", "two", "three"] {
        asked.replace(0);
        client.send(message).await;
        assert_eq!(client.until(message).await, message);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(*asked.borrow(), 2, "{message}");
    }
}

/// Echoes, until it is recalled after a minute.
async fn recalled(request: Request<RequestBody>) -> Response<AnyBody> {
    let mut answer = echoing(request).await;
    let due = || tokio::time::sleep(Duration::from_secs(60));
    answer.extensions_mut().insert(gateway_core::Recall::new(due));
    answer
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn l15_a_tunnel_whose_other_side_is_to_go_ends_as_if_it_were_old() {
    for (protocol, words) in [("websocket", "\u{fffd}\u{2}\u{3}\u{fffd}"), ("chat", "")] {
        let mut client = connect(answer(recalled));
        client.send(asks_for(protocol)).await;
        client.until(&head(protocol)).await;
        let start = tokio::time::Instant::now();
        client.send("\u{1}\u{1}a").await;
        client.until("a").await;
        let last = if words.is_empty() { client.rest().await } else { client.until("\u{3}\u{fffd}").await };
        assert_eq!((last.as_str(), start.elapsed().as_secs()), (words, 60), "{protocol}");
        assert_eq!(client.rest().await, "", "{protocol}");
        assert!(start.elapsed().as_secs() <= 65, "{protocol}");
    }
}

/// Always has more to say; as frames of a WebSocket, one that does not end.
struct Endless;

impl http_body::Body for Endless {
    type Data = bytes::Bytes;
    type Error = std::convert::Infallible;
    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, Self::Error>>> {
        std::task::Poll::Ready(Some(Ok(http_body::Frame::data(vec![0x7f; 4096].into()))))
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn old_tunnels_end_however_much_their_services_say_and_however_slowly_it_is_taken() {
    for (protocol, seconds) in [("chat", 54..=61), ("websocket", 59..=66)] {
        let limits =
            gateway_server::Limits { tunnel_max_age: Some(Duration::from_secs(60)), ..Default::default() };
        let endless = move |_: Request<RequestBody>| async move { switching(protocol, boxed(Endless)) };
        let mut client = connect_with(answer(endless), limits, 1024);
        client.send(asks_for(protocol)).await;
        let (start, mut piece) = (tokio::time::Instant::now(), [0; 512]);
        while client.io.read(&mut piece).await.is_ok_and(|count| count > 0) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(seconds.contains(&start.elapsed().as_secs()), "{protocol}: {:?}", start.elapsed());
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn not_all_tunnels_last_equally_long() {
    let mut ages = std::collections::BTreeSet::new();
    for _ in 0..8 {
        let mut client = within_a_minute();
        client.send(asks_for("chat")).await;
        client.until(&head("chat")).await;
        let start = tokio::time::Instant::now();
        client.rest().await;
        ages.insert(start.elapsed().as_millis());
    }
    assert!(ages.len() > 1, "{ages:?}");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn other_tunnels_go_on_while_draining() {
    let mut client = connect(answer(echoing));
    client.send(asks_for("chat")).await;
    client.until(&head("chat")).await;
    client.drain.begin();
    tokio::time::sleep(Duration::from_secs(100)).await;
    client.send("abc").await;
    assert_eq!(client.until("abc").await, "abc");
}
