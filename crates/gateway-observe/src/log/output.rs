//! The file that lines go to, wherever its name leads.

use crate::log::AccessLogError;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write};
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
    file: File,
    /// Where it is followed, and when it was looked for last.
    followed: Option<(PathBuf, Instant)>,
    /// Whether it ends within a line, the rest of which could not be written.
    torn: bool,
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
        Ok(Self { file, followed, torn: false })
    }

    /// Writes whole lines. Says how many of them are lost, and why.
    pub(super) fn write(&mut self, batch: &[u8]) -> (u64, io::Result<()>) {
        if let Some((path, looked)) = &mut self.followed
            && looked.elapsed() >= LOOK
        {
            *looked = Instant::now();
            // A new file begins with a line of its own.
            self.torn &= !follow(path, &mut self.file);
        }
        write_lines(&mut self.file, &mut self.torn, batch)
    }
}

/// `torn` is whether what was written before ends within a line.
fn write_lines(file: &mut impl Write, torn: &mut bool, batch: &[u8]) -> (u64, io::Result<()>) {
    let (mut rest, mut result) = (batch, Ok(()));
    if *torn {
        result = file.write_all(b"\n");
        *torn = result.is_err();
    }
    while !rest.is_empty() && result.is_ok() {
        match file.write(rest) {
            Ok(0) => result = Err(io::ErrorKind::WriteZero.into()),
            Ok(taken) => rest = &rest[taken..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => result = Err(error),
        }
    }
    if let Some(end) = batch[..batch.len() - rest.len()].last() {
        *torn = *end != b'\n';
    }
    (rest.iter().filter(|byte| **byte == b'\n').count() as u64, result)
}

/// Whether it is another one now. Where no new one can be made, the old one is still better than none.
fn follow(path: &Path, file: &mut File) -> bool {
    let id = |metadata: Metadata| (metadata.dev(), metadata.ino());
    if path.metadata().map(id).ok() != file.metadata().map(id).ok()
        && let Ok(new) = append_to(path)
    {
        *file = new;
        return true;
    }
    false
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

    /// A disk with room for so many bytes.
    struct Disk {
        room: usize,
        bytes: Vec<u8>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.room);
            if taken == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room -= taken;
            self.bytes.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_a_full_disk_does_not_take_is_counted_and_its_half_line_ends_before_the_next() {
        let mut disk = Disk { room: 6, bytes: Vec::new() };
        let mut torn = false;
        let mut write = |disk: &mut Disk, batch: &[u8]| {
            let (lines, result) = write_lines(disk, &mut torn, batch);
            (lines, result.is_ok())
        };
        assert_eq!(write(&mut disk, b"one\ntwo\nthree\n"), (2, false));
        assert_eq!(write(&mut disk, b"four\n"), (1, false));
        disk.room = 100;
        assert_eq!(write(&mut disk, b"five\nsix\n"), (0, true));
        assert_eq!(write(&mut disk, b"seven\n"), (0, true));
        assert_eq!(String::from_utf8(disk.bytes).unwrap(), "one\ntw\nfive\nsix\nseven\n");
    }
}
