use crate::http2::{GET, HEADERS, PREFACE, SETTINGS, frame};
use crate::support::*;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep, timeout};

const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;

/// A client with a request that is never answered.
async fn waiting() -> Client {
    let mut client = connect(answer(|_| std::future::pending()));
    client.send([PREFACE, SETTINGS, &frame(HEADERS, 5, 1, GET)].concat()).await;
    client
}

/// The type, flags and payload of the next frame.
async fn next(client: &mut Client) -> (u8, u8, Vec<u8>) {
    let mut head = [0; 9];
    client.io.read_exact(&mut head).await.unwrap();
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    client.io.read_exact(&mut payload).await.unwrap();
    (head[3], head[4], payload)
}

async fn until(client: &mut Client, kind: u8) -> (u8, Vec<u8>) {
    loop {
        if let (seen, flags, payload) = next(client).await
            && seen == kind
        {
            return (flags, payload);
        }
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_silent_client_is_asked_after_30_s_and_sent_away_20_s_later() {
    let begun = Instant::now();
    let mut client = waiting().await;
    assert_eq!(until(&mut client, PING).await.0, 0);
    assert_eq!(begun.elapsed().as_secs(), 30);
    let (_, goaway) = until(&mut client, GOAWAY).await;
    assert_eq!((begun.elapsed().as_secs(), &goaway[4..8]), (50, &[0; 4][..]));
    client.server.await.unwrap();
    assert_eq!(begun.elapsed().as_secs(), 50);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn one_that_does_not_even_take_the_question_is_sent_away_as_soon() {
    let begun = Instant::now();
    let mut client = connect_with(answer(|_| std::future::pending()), Default::default(), 64);
    client.send([PREFACE, SETTINGS, &frame(HEADERS, 5, 1, GET)].concat()).await;
    client.server.await.unwrap();
    assert_eq!(begun.elapsed().as_secs(), 50);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn one_that_answers_stays_and_is_asked_again() {
    let begun = Instant::now();
    let mut client = waiting().await;
    for second in [30, 60, 90, 120, 150] {
        let (flags, payload) = until(&mut client, PING).await;
        assert_eq!((begun.elapsed().as_secs(), flags), (second, 0));
        client.send(frame(PING, ACK, 0, &payload)).await;
    }
    assert!(!client.server.is_finished());
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn anything_is_a_sign_of_life() {
    let begun = Instant::now();
    let mut client = waiting().await;
    for _ in 0..10 {
        sleep(Duration::from_secs(25)).await;
        client.send(frame(PING, 0, 0, &[7; 8])).await;
        assert_eq!(until(&mut client, PING).await, (ACK, vec![7; 8]));
    }
    // Also while it owes an answer.
    assert_eq!(until(&mut client, PING).await.0, 0);
    assert_eq!(begun.elapsed().as_secs(), 280);
    sleep(Duration::from_secs(15)).await;
    client.send(frame(PING, 0, 0, &[7; 8])).await;
    assert_eq!(until(&mut client, PING).await.0, ACK);
    // Asked at the latest 30 s later, it is sent away 20 s after that.
    assert!(timeout(Duration::from_secs(49), &mut client.server).await.is_err());
    client.server.await.unwrap();
    assert_eq!(begun.elapsed().as_secs(), 345);
}
