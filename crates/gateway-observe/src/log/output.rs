//! The file that lines go to, wherever its name leads.

use crate::log::AccessLogError;
use crate::whole_lines::WholeLines;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often it is checked whether the file has been moved away.
const LOOK: Duration = Duration::from_secs(1);

/// Standard output, or a file that is followed by its name: once it was moved or deleted, as by logrotate, lines go
/// to a new one within a second, without a signal.
#[derive(Debug)]
pub(super) struct Output {
    lines: WholeLines<File>,
    /// Where it is followed, and when it was looked for last.
    followed: Option<(PathBuf, Instant)>,
}

impl Output {
    pub(super) fn open(path: Option<&Path>) -> Result<Self, AccessLogError> {
        let (file, followed) = match path {
            // Not by the library's own handle, which keeps what it could not write.
            None => (io::stdout().as_fd().try_clone_to_owned().map(File::from), None),
            Some(path) => (append_to(path), Some((path.to_owned(), Instant::now()))),
        };
        let file = file.map_err(|source| {
            let path = path.unwrap_or(Path::new("to standard output")).to_owned();
            AccessLogError::Open { path, source }
        })?;
        Ok(Self { lines: WholeLines::new(file), followed })
    }

    /// Writes whole lines. Says how many of them are lost, and why.
    pub(super) fn write(&mut self, batch: &[u8]) -> (u64, io::Result<()>) {
        if let Some((path, looked)) = &mut self.followed
            && looked.elapsed() >= LOOK
        {
            *looked = Instant::now();
            if let Some(new) = follow(path, self.lines.get_ref()) {
                self.lines = WholeLines::new(new);
            }
        }
        self.lines.write(batch)
    }
}

/// Another one, where this is not the one of that name any more. Where none can be made, the old one is still better
/// than none.
fn follow(path: &Path, file: &File) -> Option<File> {
    let id = |metadata: Metadata| (metadata.dev(), metadata.ino());
    let is_another = path.metadata().map(id).ok() != file.metadata().map(id).ok();
    is_another.then(|| append_to(path).ok()).flatten()
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
        output.write(b"one\n").1.unwrap();
        fs::rename(&path, &moved).unwrap();
        output.write(b"two\n").1.unwrap();
        let Some((_, looked)) = &mut output.followed else { panic!("not followed: {output:?}") };
        *looked -= LOOK;
        output.write(b"three\n").1.unwrap();
        assert_eq!(fs::read_to_string(&moved).unwrap(), "one\ntwo\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
    }
}
