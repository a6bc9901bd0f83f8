//! Sockets that a process is given. Apart from the tests of those that it opens: a child has them all until it starts its
//! program, and whoever listens on one seems to do so for that long after it was dropped.
#![allow(clippy::unwrap_used)]

use gateway_server::{Socket, inherited_sockets};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// What the child of the test below does: answers one connection on each socket that it was given.
#[test]
#[ignore = "run by the test that starts it with sockets"]
fn child_with_inherited_sockets() {
    let sockets = inherited_sockets().unwrap();
    let names: Vec<_> = sockets.iter().map(|inherited| inherited.name.as_str()).collect();
    let said = names.join(",");
    for inherited in &sockets {
        match &inherited.socket {
            Socket::Tcp(socket) => socket.accept().unwrap().0.write_all(said.as_bytes()).unwrap(),
            Socket::Unix(socket) => socket.accept().unwrap().0.write_all(said.as_bytes()).unwrap(),
        }
    }
    assert!(inherited_sockets().unwrap().is_empty(), "they are taken once");
}

/// The shell gives the sockets the numbers that systemd would, and starts the child under its own process number.
#[test]
fn sockets_of_systemd_are_taken_over_with_their_names() {
    use std::os::fd::OwnedFd;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sock");
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = tcp.local_addr().unwrap();
    let unix = UnixListener::bind(&path).unwrap();
    let child = Command::new("sh")
        .args(["-c", "exec 3<&0 4<&1 </dev/null >&2; export LISTEN_PID=$$; exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "child_with_inherited_sockets"])
        .env("LISTEN_FDS", "2")
        .env("LISTEN_FDNAMES", "web:local")
        .stdin(Stdio::from(OwnedFd::from(tcp)))
        .stdout(Stdio::from(OwnedFd::from(unix)))
        .stderr(Stdio::null())
        .process_group(0)
        .spawn();
    let mut child = child.unwrap();
    let mut said = String::new();
    std::net::TcpStream::connect(port).unwrap().read_to_string(&mut said).unwrap();
    UnixStream::connect(&path).unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, "web,localweb,local");
    assert!(child.wait().unwrap().success());
}
