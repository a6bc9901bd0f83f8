//! The file that lines go to, wherever its name leads.

use crate::log::AccessLogError;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often it is checked whether the file has been moved away.
const LOOK: Duration = Duration::from_secs(1);

/// Standard output, or a file that is followed by its name: once it was moved or deleted, as by logrotate, lines go
/// to a new one within a second, without a signal.
#[derive(Debug)]
pub(super) enum Output {
    Stdout,
    File { path: PathBuf, file: File, looked: Instant },
}

impl Output {
    pub(super) fn open(path: Option<&Path>) -> Result<Self, AccessLogError> {
        let Some(path) = path else { return Ok(Self::Stdout) };
        let file =
            append_to(path).map_err(|source| AccessLogError::Open { path: path.to_owned(), source })?;
        Ok(Self::File { path: path.to_owned(), file, looked: Instant::now() })
    }

    pub(super) fn write(&mut self, batch: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => io::stdout().lock().write_all(batch),
            Self::File { path, file, looked } => {
                if looked.elapsed() >= LOOK {
                    *looked = Instant::now();
                    follow(path, file);
                }
                file.write_all(batch)
            }
        }
    }
}

/// Where no new one can be made, the old one is still better than none.
fn follow(path: &Path, file: &mut File) {
    let id = |metadata: Metadata| (metadata.dev(), metadata.ino());
    if path.metadata().map(id).ok() != file.metadata().map(id).ok()
        && let Ok(new) = append_to(path)
    {
        *file = new;
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_file_that_was_moved_away_is_followed_by_a_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("access.log"), dir.path().join("access.log.1"));
        let mut output = Output::open(Some(&path)).unwrap();
        output.write(b"one\n").unwrap();
        fs::rename(&path, &moved).unwrap();
        output.write(b"two\n").unwrap();
        let Output::File { looked, .. } = &mut output else { panic!("not a file: {output:?}") };
        *looked -= LOOK;
        output.write(b"three\n").unwrap();
        assert_eq!(fs::read_to_string(&moved).unwrap(), "one\ntwo\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
    }
}
