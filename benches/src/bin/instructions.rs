//! So many requests through the in-process stack, to be counted by callgrind; `scripts/instructions.sh` runs it.
//!
//! ```text
//! instructions upstream               prints the URL of an upstream, which is there until standard input ends
//! instructions bare|policies URL N    sends N requests
//! ```

use gateway_benches::{Kind, Stack};
use gateway_testkit::Upstream;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["upstream"] => {
            let upstream = Upstream::named("hello");
            println!("{}", upstream.url());
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        }
        [kind, url, count] => {
            let kind = Kind::ALL.into_iter().find(|known| known.name() == kind);
            let (Some(kind), Ok(count)) = (kind, count.parse()) else { return usage() };
            Stack::counted(kind, url).requests(count);
        }
        _ => return usage(),
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!("usage: instructions upstream | instructions bare|policies URL COUNT");
    ExitCode::from(2)
}
