use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// Listens under another name first, so that nobody can connect before the file has its mode, nor finds no file.
pub(super) fn listen(path: &Path, mode: u32) -> io::Result<UnixListener> {
    make_room(path)?;
    let mut new = path.as_os_str().to_owned();
    new.push(format!(".{}", std::process::id()));
    let new = Path::new(&new);
    // What a process with the same number left, for it cannot be ours.
    let _ = fs::remove_file(new);
    let listener = UnixListener::bind(new)?;
    let placed = fs::set_permissions(new, Permissions::from_mode(mode)).and_then(|()| fs::rename(new, path));
    if let Err(error) = placed {
        let _ = fs::remove_file(new);
        return Err(error);
    }
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Only a socket that nobody listens on may be replaced.
fn make_room(path: &Path) -> io::Result<()> {
    let in_use = |why: &str| Err(io::Error::new(io::ErrorKind::AddrInUse, why.to_owned()));
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(file) if !file.file_type().is_socket() => in_use("a file stands there that is no socket"),
        Ok(_) => match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            // Gone meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(_) => in_use("another process listens there"),
        },
    }
}
