//! A connection that tells whether an endpoint is healthy.

use super::Flaw;
use super::http::MOST;
use super::settings::HealthSettings;
use gateway_core::{Endpoint, FailureKind};
use gateway_lookup::Lookup;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

pub(super) async fn check(
    endpoint: &Endpoint,
    lookup: &Lookup,
    settings: &HealthSettings,
) -> Result<(), Flaw> {
    let refused = |error: std::io::Error| {
        Flaw::of(FailureKind::of_connecting(&error), format!("no connection: {error}"))
    };
    match endpoint.socket_path() {
        Some(path) => talk(UnixStream::connect(path).await.map_err(refused)?, settings).await?,
        None => {
            let addresses = lookup.addresses(endpoint.host(), endpoint.port()).await.map_err(refused)?;
            talk(TcpStream::connect(&addresses[..]).await.map_err(refused)?, settings).await?;
        }
    }
    Ok(())
}

async fn talk(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    settings: &HealthSettings,
) -> Result<(), String> {
    let broke = |error: std::io::Error| format!("the connection broke: {error}");
    if let Some(text) = &settings.send {
        stream.write_all(text.as_bytes()).await.map_err(broke)?;
        stream.flush().await.map_err(broke)?;
    }
    let Some(expected) = settings.expect.as_deref().filter(|text| !text.is_empty()) else { return Ok(()) };
    let mut heard = Vec::new();
    while heard.len() < MOST {
        if stream.read_buf(&mut heard).await.map_err(broke)? == 0 {
            break;
        }
        if heard.windows(expected.len()).any(|part| part == expected.as_bytes()) {
            return Ok(());
        }
    }
    Err(format!("`{expected}` was not in the {} bytes that came", heard.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn checks_of_a_name_that_nobody_resolves_wait_for_one_answer() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = asked.clone();
        let lookup = Lookup::by(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
            std::future::pending()
        });
        let (endpoint, settings) =
            (Endpoint::parse("http://silent.test").unwrap(), HealthSettings::default());
        for _ in 0..5 {
            let checked = check(&endpoint, &lookup, &settings);
            assert!(tokio::time::timeout(std::time::Duration::from_millis(5), checked).await.is_err());
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn what_comes_back_is_searched_across_pieces() {
        for (answer, expected, healthy) in [
            (&["+PO", "NG\r\n"][..], Some("PONG"), true),
            (&["-ERR"], Some("PONG"), false),
            (&[], Some("PONG"), false),
            (&[], None, true),
        ] {
            let (ours, mut theirs) = tokio::io::duplex(64);
            let settings = HealthSettings {
                send: Some("PING\r\n".to_owned()),
                expect: expected.map(str::to_owned),
                ..HealthSettings::default()
            };
            let server = async {
                let mut asked = [0; 6];
                theirs.read_exact(&mut asked).await.unwrap();
                assert_eq!(&asked, b"PING\r\n");
                for piece in answer {
                    theirs.write_all(piece.as_bytes()).await.unwrap();
                }
                drop(theirs);
            };
            let (result, ()) = futures_util::future::join(talk(ours, &settings), server).await;
            assert_eq!(result.is_ok(), healthy, "{answer:?} {expected:?}: {result:?}");
        }
    }
}
