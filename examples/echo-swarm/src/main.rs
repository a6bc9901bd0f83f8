//! `echo-swarm`: the services, and a demonstration of the gateway in front of them.

mod demo;

use clap::{Parser, Subcommand};
use echo_swarm::{Error, Kind, bind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// Demo services, and a demonstration of the gateway in front of them.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one service.
    Service {
        /// What it serves.
        kind: Kind,
        /// The port to listen on.
        #[arg(long, env = "PORT")]
        port: u16,
        /// The address to listen on.
        #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
        address: IpAddr,
        /// What it calls itself in `X-Instance`.
        #[arg(long)]
        name: Option<String>,
        /// The SQLite file; made with a few rows if it is not there.
        #[arg(long)]
        database: PathBuf,
        /// End when standard input does.
        #[arg(long)]
        exit_with_parent: bool,
    },
    /// Run everything: services, gateway, and a list of things to try. What happens without a command too.
    Demo {
        /// The gateway's executable; by default the one beside this program.
        #[arg(long)]
        gateway: Option<PathBuf>,
    },
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let done = match Cli::parse().command.unwrap_or(Command::Demo { gateway: None }) {
        Command::Demo { gateway } => demo::run(gateway).await,
        Command::Service { kind, port, address, name, database, exit_with_parent } => {
            let name = name.unwrap_or_else(|| format!("{}-{port}", kind.name()));
            let addr = SocketAddr::new(address, port);
            serve(kind, &name, addr, database, exit_with_parent).await.map_err(|error| error.to_string())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("echo-swarm: {message}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(
    kind: Kind,
    name: &str,
    addr: SocketAddr,
    database: PathBuf,
    with_parent: bool,
) -> Result<(), Error> {
    let service = bind(kind, name, addr, &database).await?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Serve)?;
    println!("{name}: http://{}", service.addr());
    service
        .run(async move {
            let parent_gone = std::sync::Arc::new(tokio::sync::Notify::new());
            if with_parent {
                // A thread of its own, which nobody waits for: reading from a terminal cannot be given up.
                let gone = parent_gone.clone();
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
                    gone.notify_one();
                });
            }
            tokio::select! {
                () = parent_gone.notified() => {}
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        })
        .await
}
