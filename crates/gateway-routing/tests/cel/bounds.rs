//! That no expression takes long, or more of the stack than there is.

use super::{request, said, table};
use gateway_routing::{Match, When};
use http::Request;
use std::time::{Duration, Instant};

#[test]
fn expressions_are_bounded_in_length_and_depth_and_the_deepest_fit_a_small_stack() {
    let long = format!("'{}' == ''", "a".repeat(When::LONGEST));
    let mistakes = long.parse::<When>().unwrap_err();
    assert!(mistakes.to_string().contains("expected at most 4096"), "{mistakes}");

    let nested: [fn(usize) -> String; 6] = [
        |n| format!("{}true{}", "(".repeat(n), ")".repeat(n)),
        |n| format!("{}true", "true?true:".repeat(n)),
        |n| format!("{}'a'{} == 'a'", "string(".repeat(n), ")".repeat(n)),
        |n| format!("{}1 == 1", "1 + ".repeat(n)),
        |n| format!("'a'{} == 'a'", ".lowerAscii()".repeat(n)),
        |n| format!("[true].all(a, {}a)", "a == ".repeat(n)),
    ];
    for make in nested {
        let fits = |n: usize| make(n).parse::<When>();
        let deepest = (1..60).take_while(|n| fits(*n).is_ok()).last().unwrap_or(0);
        assert!((12..60).contains(&deepest), "{deepest}: {}", make(1));
        for n in [60, 150, 300] {
            let mistakes = fits(n).expect_err(&make(1));
            assert!(mistakes.to_string().contains("nested more than"), "{}: {mistakes}", make(1));
        }
        let table = table(&make(deepest));
        let evaluated = std::thread::Builder::new().stack_size(1 << 20).spawn(move || {
            let _ = table.find(&request());
        });
        evaluated.unwrap().join().unwrap();
    }
    // Many conditions beside one another are not deep.
    assert_eq!(said(&["request.path != 'x'"; 100].join(" && "), &request()), Ok(true));
}

#[test]
fn a_loop_over_a_long_query_takes_time_linear_in_it() {
    let query = |many: usize| (0..many).map(|n| format!("p{n}=v")).collect::<Vec<_>>().join("&");
    let table = table("request.query.exists(n, request.query[n] == 'x')");
    let request = Request::get(format!("/?{}", query(6000))).body(()).unwrap();
    let started = Instant::now();
    assert!(matches!(table.find(&request), Match::NotFound));
    // Looked for from the start each time it would take minutes in this build.
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}
