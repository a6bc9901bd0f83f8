//! A room that all are in, and texts that come word by word.

use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Query, State};
use axum::response::Response;
use axum::response::sse::{Event, Sse};
use axum::routing::get;
use futures_util::{Stream, stream};
use std::collections::HashMap;
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::broadcast::{self, Sender};

/// How many messages somebody slow may be behind before some are missed.
const BEHIND: usize = 64;
const PER_WORD: Duration = Duration::from_millis(100);

/// The chat, and the generator.
pub fn chat() -> Router {
    Router::new()
        .route("/api/chat", get(join))
        .route("/api/generate", get(generate))
        .with_state(broadcast::channel(BEHIND).0)
}

async fn join(State(room): State<Sender<String>>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(move |socket| talk(socket, room))
}

async fn talk(mut socket: WebSocket, room: Sender<String>) {
    let mut heard = room.subscribe();
    loop {
        tokio::select! {
            said = socket.recv() => match said {
                // Whoever says it hears it too, so there is a receiver.
                Some(Ok(Message::Text(text))) => drop(room.send(text.to_string())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
            text = heard.recv() => if let Ok(text) = text
                && socket.send(Message::text(text)).await.is_err()
            {
                return;
            },
        }
    }
}

async fn generate(
    Query(query): Query<HashMap<String, String>>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let prompt = query.get("prompt").map_or("nothing", String::as_str);
    let text = format!("You asked about {prompt} and this is all there is to say");
    let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    Sse::new(stream::unfold(words.into_iter(), |mut words| async {
        let word = words.next()?;
        tokio::time::sleep(PER_WORD).await;
        Some((Ok(Event::default().data(word)), words))
    }))
}
