//! What the programs of all examples have in common.

use crate::Demo;
use axum::Router;
use clap::{CommandFactory, FromArgMatches, Parser};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// The gateway's executable; by default the one beside this program.
    #[arg(long)]
    gateway: Option<PathBuf>,
}

/// The program of an example: its name, what it is in a sentence, the gateway's configuration, and what it starts.
pub async fn main(
    name: &'static str,
    about: &'static str,
    config: &str,
    start: impl AsyncFnOnce(&mut Demo) -> Result<(), String>,
) -> ExitCode {
    let matches = Cli::command().name(name).about(about).get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let done = match Demo::new(config, cli.gateway) {
        Ok(demo) => demo.run(start).await,
        Err(message) => Err(message),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{name}: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Serves on this port of this machine until the program ends.
///
/// # Errors
/// The port is taken.
pub async fn serve(port: u16, service: Router) -> Result<(), String> {
    let addr = SocketAddr::from(([127, 0, 0, 1], port));
    let listener =
        TcpListener::bind(addr).await.map_err(|error| format!("cannot listen on {addr}: {error}"))?;
    tokio::spawn(async move { axum::serve(listener, service).await });
    Ok(())
}

/// Serves on a free port of this machine, on a thread of its own, until the program ends: for tests.
///
/// # Errors
/// No port is free, or no thread.
pub fn start(service: Router) -> io::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let addr = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let serving = async move { axum::serve(TcpListener::from_std(listener)?, service).await };
    thread::Builder::new().spawn(move || runtime.block_on(serving))?;
    Ok(addr)
}

/// The program of a service by itself, `PROGRAM NAME PORT`, for containers: the service of this name on all addresses,
/// until `SIGTERM`.
pub async fn service_main(service: impl FnOnce(&str) -> Router) -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (Some(name), Some(Ok(port))) = (args.next(), args.next().map(|port| port.parse())) else {
        eprintln!("expected the name of the service, and a port");
        return ExitCode::from(2);
    };
    match serve_until_terminated(service(&name), port).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve_until_terminated(service: Router, port: u16) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?;
    let terminated = async move {
        terminate.recv().await;
    };
    axum::serve(listener, service).with_graceful_shutdown(terminated).await
}
