use crate::support::*;
use http::Response;
use std::cell::Cell;
use std::rc::Rc;

async fn is_dropped_when_the_client_goes(request: &str) -> bool {
    let dropped = Rc::new(Cell::new(false));
    let flag = dropped.clone();
    let mut client = connect(answer(move |request| {
        let guard = OnDrop(flag.clone());
        async move {
            let _guard = (guard, request);
            std::future::pending::<Response<AnyBody>>().await
        }
    }));
    client.send(request).await;
    settle().await;
    assert!(!dropped.get());
    let Client { io, server, .. } = client;
    drop(io);
    settle().await;
    dropped.get() && server.is_finished()
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_request_whose_client_has_gone_is_dropped() {
    assert!(is_dropped_when_the_client_goes("GET / HTTP/1.1\r\n\r\n").await);
    // Also one that asks for a tunnel and has no answer yet.
    let upgrade = "GET / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    assert!(is_dropped_when_the_client_goes(upgrade).await);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn an_answer_whose_client_has_gone_is_dropped() {
    let script = Script::of(&["a"]);
    let body = script.clone();
    let mut client = connect(answer(move |_| {
        let body = body.body();
        async { Response::new(body) }
    }));
    client.send("GET / HTTP/1.1\r\n\r\n").await;
    client.until("1\r\na\r\n").await;
    assert!(!script.is_dropped());
    drop(client);
    settle().await;
    assert!(script.is_dropped());
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_client_that_goes_within_its_body_takes_the_request_with_it() {
    let dropped = Rc::new(Cell::new(false));
    let flag = dropped.clone();
    let mut client = connect(answer(move |request| {
        let guard = OnDrop(flag.clone());
        async move {
            let _guard = guard;
            echo(request).await
        }
    }));
    client.send("POST / HTTP/1.1\r\ncontent-length: 10\r\n\r\nabc").await;
    settle().await;
    assert!(!dropped.get());
    drop(client);
    settle().await;
    assert!(dropped.get());
}
