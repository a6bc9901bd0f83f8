use std::io::{self, Write};

/// Lines on their way to a file or a pipe that may take only part of them. What follows a line that was not written to
/// its end begins on a line of its own.
#[derive(Debug)]
pub struct WholeLines<W> {
    out: W,
    /// Whether it ends within a line, the rest of which could not be written.
    torn: bool,
}

impl<W: Write> WholeLines<W> {
    /// Writes to this, which is at the beginning of a line.
    pub fn new(out: W) -> Self {
        Self { out, torn: false }
    }

    pub(crate) fn get_ref(&self) -> &W {
        &self.out
    }

    /// Writes lines, all that it can. Says how many of them are lost, and why.
    pub fn write(&mut self, batch: &[u8]) -> (u64, io::Result<()>) {
        let (mut rest, mut result) = (batch, Ok(()));
        if self.torn {
            result = self.out.write_all(b"\n");
            self.torn = result.is_err();
        }
        while !rest.is_empty() && result.is_ok() {
            match self.out.write(rest) {
                Ok(0) => result = Err(io::ErrorKind::WriteZero.into()),
                Ok(taken) => rest = &rest[taken..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => result = Err(error),
            }
        }
        if let Some(end) = batch[..batch.len() - rest.len()].last() {
            self.torn = *end != b'\n';
        }
        (rest.iter().filter(|byte| **byte == b'\n').count() as u64, result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let mut lines = WholeLines::new(Disk { room: 6, bytes: Vec::new() });
        let write = |lines: &mut WholeLines<Disk>, batch: &[u8]| {
            let (lost, result) = lines.write(batch);
            (lost, result.is_ok())
        };
        assert_eq!(write(&mut lines, b"one\ntwo\nthree\n"), (2, false));
        assert_eq!(write(&mut lines, b"four\n"), (1, false));
        lines.out.room = 100;
        assert_eq!(write(&mut lines, b"five\nsix\n"), (0, true));
        assert_eq!(write(&mut lines, b"seven\n"), (0, true));
        assert_eq!(String::from_utf8(lines.out.bytes).unwrap(), "one\ntw\nfive\nsix\nseven\n");
    }
}
