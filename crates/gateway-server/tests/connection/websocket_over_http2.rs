use crate::support::*;
use bytes::Bytes;
use gateway_core::Upgrade;
use gateway_server::{Drain, Handler, RequestBody};
use h2::client::SendRequest;
use h2::ext::Protocol;
use http::{Method, Request, Response, StatusCode};

async fn start<H: Handler + Clone>(handler: H) -> (SendRequest<Bytes>, Drain) {
    let client = connect(handler);
    let (mut send, connection) = h2::client::handshake(client.io).await.unwrap();
    tokio::task::spawn_local(connection);
    settle().await;
    send = send.ready().await.unwrap();
    assert!(send.is_extended_connect_protocol_enabled());
    (send, client.drain)
}

fn connect_to(protocol: &'static str) -> Request<()> {
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri("https://shop.example/chat?a=b")
        .header("sec-websocket-version", "13")
        .body(())
        .unwrap();
    request.extensions_mut().insert(Protocol::from_static(protocol));
    request
}

async fn echoing(request: Request<RequestBody>) -> Response<AnyBody> {
    assert_eq!(request.method(), Method::GET);
    assert_eq!(request.uri().path_and_query().unwrap(), "/chat?a=b");
    let Upgrade(protocol) = request.extensions().get::<Upgrade>().expect("it is an upgrade").clone();
    if protocol == "websocket" {
        assert_eq!(request.headers()["sec-websocket-key"].len(), 24);
        assert_eq!(request.headers()["sec-websocket-version"], "13");
    }
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header("upgrade", protocol)
        .header("connection", "upgrade")
        .header("sec-websocket-accept", "x")
        .header("sec-websocket-protocol", "chat")
        .body(boxed(request.into_body()))
        .unwrap()
}

async fn data(body: &mut h2::RecvStream) -> Option<Bytes> {
    loop {
        let data = body.data().await?.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        if !data.is_empty() {
            return Some(data);
        }
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_websocket_over_a_stream_is_an_upgrade_for_the_handler() {
    let (mut send, _drain) = start(answer(echoing)).await;
    let (answer, mut up) = send.send_request(connect_to("websocket"), false).unwrap();
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["sec-websocket-protocol"], "chat");
    for gone in ["connection", "upgrade", "sec-websocket-accept", "content-length"] {
        assert!(!answer.headers().contains_key(gone), "{gone}");
    }
    let mut down = answer.into_body();
    for text in ["abc", "def"] {
        up.send_data(Bytes::from_static(text.as_bytes()), false).unwrap();
        assert_eq!(data(&mut down).await.unwrap(), text);
    }
    up.send_data(Bytes::new(), true).unwrap();
    assert_eq!(data(&mut down).await, None);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_draining_websocket_over_a_stream_is_told_1001() {
    let (mut send, drain) = start(answer(echoing)).await;
    let (answer, mut up) = send.send_request(connect_to("websocket"), false).unwrap();
    let mut down = answer.await.unwrap().into_body();
    up.send_data(Bytes::from_static(b"\x81\x01a"), false).unwrap();
    assert_eq!(data(&mut down).await.unwrap(), &b"\x81\x01a"[..]);
    drain.begin();
    assert_eq!(data(&mut down).await.unwrap(), &b"\x88\x02\x03\xe9"[..]);
    up.send_data(Bytes::from_static(b"\x88\x82abcd\x62\x8b"), true).unwrap();
    assert_eq!(data(&mut down).await, None);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn l15_a_websocket_over_a_stream_whose_other_side_is_to_go_is_told_1001() {
    let (mut send, _drain) = start(answer(|request| async {
        let mut answer = echoing(request).await;
        let due = || tokio::time::sleep(std::time::Duration::from_secs(60));
        answer.extensions_mut().insert(gateway_core::Recall::new(due));
        answer
    }))
    .await;
    let (answer, mut up) = send.send_request(connect_to("websocket"), false).unwrap();
    let mut down = answer.await.unwrap().into_body();
    up.send_data(Bytes::from_static(b"\x81\x01a"), false).unwrap();
    assert_eq!(data(&mut down).await.unwrap(), &b"\x81\x01a"[..]);
    assert_eq!(data(&mut down).await.unwrap(), &b"\x88\x02\x03\xe9"[..]);
    up.send_data(Bytes::from_static(b"\x88\x82abcd\x62\x8b"), true).unwrap();
    assert_eq!(data(&mut down).await, None);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn an_answer_that_grants_no_tunnel_passes_unless_it_would_be_taken_for_one() {
    for (status, expected) in [(403, 403), (302, 302), (200, 502), (204, 502)] {
        let (mut send, _drain) = start(answer(move |_| async move {
            let mut response = text("no");
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            response
        }))
        .await;
        let (answer, _up) = send.send_request(connect_to("websocket"), false).unwrap();
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), expected, "{status}");
        assert!(data(&mut answer.into_body()).await.is_some(), "{status}");
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_plain_connect_is_refused() {
    let (mut send, _drain) = start(answer(echoing)).await;
    let request = Request::connect("shop.example:443").body(()).unwrap();
    let answer = send.send_request(request, true).unwrap().0.await.unwrap();
    assert_eq!(answer.status(), 400);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_tunnel_of_http_2_would_pass_by_every_policy_and_is_refused() {
    for protocol in ["h2c", "H2C", "websocket, h2c", "h2C ,websocket"] {
        let (mut send, _drain) = start(answer(echoing)).await;
        let answer = send.send_request(connect_to(protocol), false).unwrap().0.await.unwrap();
        assert_eq!(answer.status(), 400, "{protocol}");
    }
    // Not everything that begins so is.
    let (mut send, _drain) = start(answer(echoing)).await;
    let answer = send.send_request(connect_to("h2cat"), false).unwrap().0.await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_client_that_resets_its_stream_ends_the_tunnel() {
    let script = Script::default();
    let body = script.clone();
    let (mut send, _drain) = start(answer(move |_| {
        let body = body.body();
        async { Response::builder().status(101).body(body).unwrap() }
    }))
    .await;
    let (answer, mut up) = send.send_request(connect_to("websocket"), false).unwrap();
    let down = answer.await.unwrap();
    settle().await;
    assert!(!script.is_dropped());
    up.send_reset(h2::Reason::CANCEL);
    drop(down);
    settle().await;
    // The tunnel notices with the next thing that it has to say.
    script.data("a");
    settle().await;
    assert!(script.is_dropped());
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn much_passes_both_ways() {
    const MUCH: usize = 3_000_000;
    let (mut send, _drain) = start(answer(echoing)).await;
    let (answer, mut up) = send.send_request(connect_to("websocket"), false).unwrap();
    let mut down = answer.await.unwrap().into_body();
    tokio::task::spawn_local(async move {
        let mut left = MUCH;
        while left > 0 {
            up.reserve_capacity(left);
            let room = std::future::poll_fn(|cx| up.poll_capacity(cx)).await.unwrap().unwrap();
            left -= room.min(left);
            up.send_data(vec![b'x'; room].into(), left == 0).unwrap();
        }
    });
    let mut seen = 0;
    while let Some(data) = data(&mut down).await {
        seen += data.len();
    }
    assert_eq!(seen, MUCH);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn an_upstream_that_has_said_all_may_still_listen() {
    let heard = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let told = heard.clone();
    let (mut send, _drain) = start(answer(move |request: Request<RequestBody>| {
        let told = told.clone();
        tokio::task::spawn_local(async move {
            let sent = http_body_util::BodyExt::collect(request.into_body()).await.unwrap();
            told.borrow_mut().extend_from_slice(&sent.to_bytes());
        });
        let script = Script::of(&["bye"]);
        script.end();
        async move { Response::builder().status(101).body(script.body()).unwrap() }
    }))
    .await;
    let (answer, mut up) = send.send_request(connect_to("websocket"), false).unwrap();
    let mut down = answer.await.unwrap().into_body();
    assert_eq!(data(&mut down).await.unwrap(), "bye");
    assert_eq!(data(&mut down).await, None);
    for (text, end) in [("abc", false), ("def", true)] {
        up.send_data(Bytes::from_static(text.as_bytes()), end).unwrap();
        settle().await;
    }
    assert_eq!(*heard.borrow(), b"abcdef");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_tunnel_whose_client_resets_it_breaks_for_who_reads_from_it() {
    let (mut send, _drain) = start(answer(echoing)).await;
    let (answer, mut up) = send.send_request(connect_to("websocket"), false).unwrap();
    let mut down = answer.await.unwrap().into_body();
    up.send_data(Bytes::from_static(b"a"), false).unwrap();
    assert_eq!(data(&mut down).await.unwrap(), "a");
    up.send_reset(h2::Reason::CANCEL);
    settle().await;
    // Others go on.
    let (answer, mut up) = send.send_request(connect_to("mine"), false).unwrap();
    let mut down = answer.await.unwrap().into_body();
    up.send_data(Bytes::from_static(b"b"), true).unwrap();
    assert_eq!(data(&mut down).await.unwrap(), "b");
    assert_eq!(data(&mut down).await, None);
}
