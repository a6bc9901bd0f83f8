//! From socket to socket within the kernel: what is large need not be copied to this process and back.

use bytes::Bytes;
use gateway_core::Spliced;
use nix::fcntl::{FcntlArg, SpliceFFlags, fcntl, splice};
use std::cell::RefCell;
use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::fd::{AsFd, BorrowedFd};

/// What the pipe holds at most.
const ROOM: usize = 256 * 1024;

thread_local! {
    /// Empty between two uses, so that one serves all connections of a thread.
    static PIPE: RefCell<Option<Pipe>> = const { RefCell::new(None) };
}

#[derive(Debug)]
struct Pipe {
    reader: PipeReader,
    writer: PipeWriter,
}

impl Pipe {
    fn new() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        // Where that is refused, all goes on in smaller pieces.
        let _ = fcntl(&writer, FcntlArg::F_SETPIPE_SZ(ROOM as i32));
        Ok(Self { reader, writer })
    }
}

/// Moves what has come, up to `most` bytes, from the one socket to the other; neither may block. Where nothing is moved it
/// has ended, or nothing has come, or it does not go this way: whoever reads finds out. After an error, bytes are lost.
pub(crate) fn pass(from: BorrowedFd<'_>, to: BorrowedFd<'_>, most: u64) -> io::Result<Spliced> {
    PIPE.with_borrow_mut(|place| {
        let Some(pipe) = place.take().or_else(|| Pipe::new().ok()) else { return Ok(Spliced::default()) };
        let spliced = pipe.pass(from, to, usize::try_from(most).unwrap_or(ROOM).min(ROOM));
        // Of one in which something is left nobody knows whose it is.
        *place = spliced.is_ok().then_some(pipe);
        spliced
    })
}

impl Pipe {
    fn pass(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, most: usize) -> io::Result<Spliced> {
        let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
        // Also `EAGAIN` does not mean that nothing has come: at a byte that is urgent, which reading steps over, it is for ever.
        let came = splice(from, None, self.writer.as_fd(), None, most, flags).unwrap_or(0);
        let mut moved = 0;
        while moved < came {
            match splice(self.reader.as_fd(), None, to, None, came - moved, flags) {
                Ok(count @ 1..) => moved += count,
                // Whoever writes the rest finds out.
                Ok(_) | Err(_) => break,
            }
        }
        let mut rest = Vec::with_capacity(came - moved);
        if moved < came {
            (&self.reader).take((came - moved) as u64).read_to_end(&mut rest)?;
        }
        Ok(Spliced { moved: moved as u64, rest: Bytes::from(rest) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    fn pair() -> (UnixStream, UnixStream) {
        let (near, far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        far.set_nonblocking(true).unwrap();
        (near, far)
    }

    #[test]
    fn what_has_not_come_yet_is_not_waited_for() {
        let ((from, mut service), (to, _client)) = (pair(), pair());
        assert_eq!(pass(from.as_fd(), to.as_fd(), 10).unwrap().total(), 0);
        service.write_all(b"the end").unwrap();
        drop(service);
        assert_eq!(pass(from.as_fd(), to.as_fd(), 10).unwrap().moved, 7);
        assert_eq!(pass(from.as_fd(), to.as_fd(), 10).unwrap().total(), 0);
    }

    #[test]
    fn what_a_client_that_is_gone_does_not_take_is_for_nobody_else() {
        let ((from, mut service), (to, client)) = (pair(), pair());
        drop(client);
        service.write_all(b"for the first").unwrap();
        let spliced = pass(from.as_fd(), to.as_fd(), 100).unwrap();
        assert_eq!((spliced.moved, &spliced.rest[..]), (0, &b"for the first"[..]));
        let (to, mut client) = pair();
        service.write_all(b"for the next").unwrap();
        assert_eq!(pass(from.as_fd(), to.as_fd(), 100).unwrap().moved, 12);
        let mut read = [0; 100];
        assert_eq!(client.read(&mut read).unwrap(), 12);
        assert_eq!(&read[..12], b"for the next");
    }

    proptest! {
        #[test]
        fn however_much_is_sent_and_taken_at_a_time_it_arrives_as_it_was(
            steps in prop::collection::vec((0usize..400_000, 1u64..400_000, 0usize..400_000), 1..20),
        ) {
            let ((from, mut service), (mut to, mut client)) = (pair(), pair());
            let (mut sent, mut taken, mut rest) = (Vec::<u8>::new(), Vec::new(), Vec::new());
            for (send, most, take) in steps {
                let bytes: Vec<u8> = (sent.len()..sent.len() + send).map(|n| (n / 7) as u8).collect();
                let count = service.write(&bytes).unwrap_or(0);
                sent.extend(&bytes[..count]);
                if rest.is_empty() && let Ok(spliced) = pass(from.as_fd(), to.as_fd(), most) {
                    prop_assert!(spliced.total() <= most);
                    rest.extend(&spliced.rest);
                }
                let count = to.write(&rest).unwrap_or(0);
                rest.drain(..count);
                let mut read = vec![0; take];
                let count = client.read(&mut read).unwrap_or(0);
                taken.extend(&read[..count]);
            }
            // What is still on its way follows.
            for stream in [&mut service, &mut to] {
                stream.set_nonblocking(false).unwrap();
            }
            client.set_nonblocking(false).unwrap();
            let reader = std::thread::spawn(move || {
                client.read_to_end(&mut taken).unwrap();
                taken
            });
            drop(service);
            to.write_all(&rest).unwrap();
            while let Ok(spliced) = pass(from.as_fd(), to.as_fd(), u64::MAX) && spliced.total() > 0 {
                to.write_all(&spliced.rest).unwrap();
            }
            drop(to);
            prop_assert!(reader.join().unwrap() == sent);
        }
    }
}
