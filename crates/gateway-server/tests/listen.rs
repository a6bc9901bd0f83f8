//! Sockets as a process opens them and is given them.
#![allow(clippy::unwrap_used)]

use gateway_server::{Accepted, ListenAddress, Listener, Socket};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};

fn address(path: &std::path::Path, mode: u32) -> ListenAddress {
    ListenAddress::Unix { path: path.to_owned(), mode }
}

#[tokio::test]
async fn a_unix_socket_has_its_mode_and_is_shared_by_the_workers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sock");
    let sockets = address(&path, 0o640).listen(2).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "another name was left");
    assert_eq!(sockets.len(), 2);
    for socket in sockets {
        let listener = socket.into_listener().unwrap();
        let _client = UnixStream::connect(&path).unwrap();
        assert!(matches!(listener.accept().await.unwrap(), Accepted::Unix(_)));
    }
}

#[tokio::test]
async fn what_an_earlier_process_left_is_replaced_and_what_is_in_use_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sock");
    drop(UnixListener::bind(&path).unwrap());
    let sockets = address(&path, 0o600).listen(1).unwrap();
    let error = address(&path, 0o600).listen(1).unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (ErrorKind::AddrInUse, "another process listens there")
    );
    drop(sockets);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "precious").unwrap();
    assert_eq!(address(&path, 0o600).listen(1).unwrap_err().kind(), ErrorKind::AddrInUse);
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}

#[tokio::test]
async fn every_worker_has_a_tcp_socket_of_its_own_on_the_same_port() {
    let sockets = "127.0.0.1:0".parse::<ListenAddress>().unwrap().listen(3).unwrap();
    let addresses: Vec<_> = sockets.iter().map(Socket::address).collect();
    assert!(addresses.iter().all(|address| *address == addresses[0]), "{addresses:?}");
    for workers in [1, 3] {
        let taken = addresses[0].parse::<ListenAddress>().unwrap().listen(workers);
        assert_eq!(taken.unwrap_err().kind(), ErrorKind::AddrInUse, "{workers} workers");
    }
    let sockets = "127.0.0.1:0".parse::<ListenAddress>().unwrap().listen(1).unwrap();
    let address = sockets[0].address();
    let listener = sockets.into_iter().next().unwrap().into_listener().unwrap();
    let _client = std::net::TcpStream::connect(address).unwrap();
    assert!(matches!(listener.accept().await.unwrap(), Accepted::Tcp(..)));
}

#[tokio::test]
async fn a_worker_with_several_sockets_accepts_from_each() {
    let any = "127.0.0.1:0".parse::<ListenAddress>().unwrap();
    let sockets: Vec<Socket> = (0..3).flat_map(|_| any.listen(1).unwrap()).collect();
    let addresses: Vec<SocketAddr> = sockets.iter().map(|socket| socket.address().parse().unwrap()).collect();
    let listener = Listener::of(sockets).unwrap();
    let mut clients = Vec::new();
    for address in addresses.iter().chain(&addresses).rev() {
        clients.push(std::net::TcpStream::connect(address).unwrap());
    }
    let mut seen = Vec::new();
    for _ in &clients {
        let Accepted::Tcp(stream, _) = listener.accept().await.unwrap() else { panic!("it is TCP") };
        seen.push(stream.local_addr().unwrap());
    }
    seen.sort();
    let mut expected = [addresses.clone(), addresses].concat();
    expected.sort();
    assert_eq!(seen, expected);
}
