//! Addresses as header values, written once and then shared.

use http::header::HeaderValue;
use std::cell::RefCell;
use std::fmt::Write;
use std::net::IpAddr;

/// A power of two. 256 slots are 16 KiB per thread: a busy client, and every proxy in front, keeps its own.
const SLOTS: usize = 256;

thread_local! {
    /// Direct-mapped: an address has one slot, and whoever came last has it.
    static WRITTEN: RefCell<[Option<(IpAddr, HeaderValue)>; SLOTS]> = const { RefCell::new([const { None }; SLOTS]) };
}

/// The address as a header's value: `192.0.2.1`, `2001:db8::1`.
pub(super) fn value(ip: IpAddr) -> HeaderValue {
    WRITTEN.try_with(|written| known(&mut written.borrow_mut(), ip)).unwrap_or_else(|_| write(ip))
}

fn known(written: &mut [Option<(IpAddr, HeaderValue)>; SLOTS], ip: IpAddr) -> HeaderValue {
    let slot = &mut written[slot(ip)];
    match slot {
        Some((known, value)) if *known == ip => value.clone(),
        _ => slot.insert((ip, write(ip))).1.clone(),
    }
}

/// Addresses nearby, which one network's clients have, get slots of their own.
fn slot(ip: IpAddr) -> usize {
    let bits = match ip {
        IpAddr::V4(ip) => u64::from(ip.to_bits()),
        IpAddr::V6(ip) => {
            let bits = ip.to_bits();
            #[allow(clippy::cast_possible_truncation, reason = "the halves are folded")]
            let folded = (bits >> 64) as u64 ^ bits as u64;
            folded
        }
    };
    // Fibonacci hashing: the upper bits of a product with 2⁶⁴/φ.
    (bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SLOTS.trailing_zeros())) as usize
}

fn write(ip: IpAddr) -> HeaderValue {
    let mut text = Text { buffer: [0; 48], length: 0 };
    // An address is at most 45 characters, and always valid.
    let written = write!(text, "{ip}").ok().and_then(|()| HeaderValue::from_bytes(text.bytes()).ok());
    written.unwrap_or(HeaderValue::from_static("unknown"))
}

/// A text on the stack, long enough for any address.
struct Text {
    buffer: [u8; 48],
    length: usize,
}

impl Text {
    fn bytes(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.length + text.len();
        self.buffer.get_mut(self.length..end).ok_or(std::fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_network_s_clients_do_not_share_a_slot() {
        let mut taken: Vec<_> = (0..=255).map(|last| slot(IpAddr::from([192, 0, 2, last]))).collect();
        taken.sort_unstable();
        taken.dedup();
        assert!(taken.len() > 200, "{} of 256 slots are used", taken.len());
    }

    proptest! {
        #[test]
        fn whatever_was_written_before_an_address_is_itself(ips: Vec<IpAddr>) {
            for ip in ips.iter().chain(&ips) {
                prop_assert_eq!(value(*ip), ip.to_string());
            }
        }
    }
}
