//! Every fuzz target with its corpus and some thousands of inputs made from it: what stable Rust can do of fuzzing.
//! The inputs are the same in each run; `FUZZ_SEED` gives others, `FUZZ_INPUTS` more, `FUZZ_SECONDS` as many as there is
//! time for.
#![allow(clippy::unwrap_used, unreachable_pub)]

#[path = "../src/lib.rs"]
mod gateway_fuzz;

use gateway_fuzz::{TARGETS, Target};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What random bytes rarely are.
const WORDS: [&[u8]; 34] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b";",
    b",",
    b"\r\n ",
    b"0",
    b"0\r\n\r\n",
    b"ffffffffffffffff",
    b"Content-Length: 1\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Host: a\r\n",
    b"Connection: upgrade\r\n",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"../",
    b"/./",
    b"//",
    b"%2e",
    b"%2F",
    b"%00",
    b"{id}",
    b"*",
    b"PROXY TCP6 ",
    b"\r\n\r\n\0\r\nQUIT\n",
    b"~^(",
    b"[[",
    b" = \"",
    b"eyJhbGciOiJub25lIn0",
    b"\xff\xfe",
];

struct Random(u64);

impl Random {
    fn next(&mut self) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize
    }

    fn below(&mut self, end: usize) -> usize {
        self.next() % end.max(1)
    }

    /// An input made of one of these by a few changes.
    fn change(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut input = corpus[self.below(corpus.len())].clone();
        for _ in 0..=self.below(4) {
            let (at, other) = (self.below(input.len() + 1), self.below(input.len() + 1));
            let (start, end) = (at.min(other), at.max(other));
            match self.below(7) {
                0 if at < input.len() => input[at] ^= 1 << self.below(8),
                1 if at < input.len() => input[at] = self.next() as u8,
                2 => input.insert(at, self.next() as u8),
                3 => {
                    input.drain(start..end.min(start + 1 + self.below(8)));
                }
                4 => {
                    let again = input[start..end].to_vec();
                    input.splice(at..at, again);
                }
                5 => {
                    let donor = &corpus[self.below(corpus.len())];
                    let from = self.below(donor.len() + 1);
                    input.splice(at.., donor[from..].iter().copied());
                }
                _ => {
                    let word = WORDS[self.below(WORDS.len())];
                    input.splice(at..at, word.iter().copied());
                }
            }
        }
        input
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn run(name: &str, inputs: u64) {
    let target: Target = TARGETS.iter().find(|(known, _)| *known == name).unwrap().1;
    // Beside this file, whichever package builds it.
    let folder = [
        concat!(env!("CARGO_MANIFEST_DIR"), "/corpus"),
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus"),
    ];
    let folder = folder.iter().map(|folder| PathBuf::from(folder).join(name)).find(|folder| folder.is_dir());
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder.unwrap()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let corpus: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
    assert!(!corpus.is_empty(), "no seeds for {name}");
    let check = |input: &[u8]| {
        if std::panic::catch_unwind(|| target(input)).is_err() {
            panic!("{name}: the input b\"{}\" is taken wrongly", input.escape_ascii());
        }
    };
    corpus.iter().for_each(|input| check(input));
    let mut random = Random(number("FUZZ_SEED", 0x9e37_79b9_7f4a_7c15) | 1);
    let until = Instant::now() + Duration::from_secs(number("FUZZ_SECONDS", 0));
    let mut left = number("FUZZ_INPUTS", inputs);
    while left > 0 || Instant::now() < until {
        check(&random.change(&corpus));
        left = left.saturating_sub(1);
    }
}

#[test]
fn request_heads_have_one_meaning_or_none() {
    run("request_head", 20_000);
}

#[test]
fn response_heads_have_one_meaning_or_none() {
    run("response_head", 20_000);
}

#[test]
fn chunked_bodies_do_not_depend_on_how_they_were_cut() {
    run("chunked", 20_000);
}

#[test]
fn proxy_headers_do_not_depend_on_what_follows() {
    run("proxy_header", 20_000);
}

#[test]
fn normal_paths_stay_as_they_are() {
    run("path", 20_000);
}

#[test]
fn patterns_are_read_as_they_are_written() {
    run("patterns", 10_000);
}

#[test]
fn configurations_are_good_or_their_mistakes_are_told() {
    // Each is a file that is written and read.
    run("config", 500);
}

#[test]
fn no_token_passes_but_the_good_one() {
    run("token", 2_000);
}

#[test]
fn no_token_passes_but_by_its_claims() {
    run("jwt", 5_000);
}
