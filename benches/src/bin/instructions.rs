//! So many requests through the in-process stack, to be counted by callgrind; `scripts/instructions.sh` runs it.
//!
//! ```text
//! instructions upstream               prints the URL of an upstream, which is there until standard input ends
//! instructions bare|policies URL N    sends N requests
//! instructions find ROUTES N          looks N requests up among as many routes
//! ```

use gateway_benches::{Kind, Stack};
use gateway_routing::{Match, RouteMatch, RouteTable};
use gateway_testkit::Upstream;
use http::Request;
use std::hint::black_box;
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
        ["find", routes, count] => {
            let (Ok(routes), Ok(count)) = (routes.parse(), count.parse()) else { return usage() };
            find(routes, count);
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

/// Looks requests for ever other routes up.
fn find(routes: usize, count: usize) {
    let route = |number| (RouteMatch::path(&format!("/api/r{number}/*")).expect("a good path"), number);
    let table = RouteTable::build((0..routes).map(route).collect()).expect("a good table");
    // The numbers have as many digits each, so that no request is longer than another.
    let requests: Vec<_> = (0..8)
        .map(|number| Request::get(format!("/api/r{number}/items?page=2")).header("host", "shop.example"))
        .map(|request| request.body(()).expect("a good request"))
        .collect();
    for request in requests.iter().cycle().take(count) {
        assert!(matches!(table.find(black_box(request)), Match::Found(_)), "every request has a route");
    }
}

fn usage() -> ExitCode {
    eprintln!(
        "usage: instructions upstream | instructions bare|policies URL COUNT | instructions find ROUTES COUNT"
    );
    ExitCode::from(2)
}
