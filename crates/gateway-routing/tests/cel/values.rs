//! What expressions see of a request, and what they make of it.

use super::{request, said};
use gateway_core::ClientAddr;

#[test]
fn expressions_see_what_a_request_brings() {
    let request = request();
    for (text, expected) in [
        ("request.method == 'POST'", true),
        ("request.method in ['GET', 'HEAD']", false),
        ("request.scheme == 'https'", true),
        ("request.host == 'shop.example'", true),
        ("request.path == '/a%20b/c' && request.path.startsWith('/a')", true),
        ("client.ip == '10.1.2.3'", true),
        ("request.headers['x-plan'] == 'gold'", true),
        ("request.headers['x-many'] == 'a, b'", true),
        ("request.headers['x-odd'].endsWith('!')", true),
        ("request.headers.cookie == 'group=\"beta-1\"; id=7; id=8'", true),
        ("'x-plan' in request.headers && !('x-none' in request.headers)", true),
        ("has(request.query.page) && !has(request.query.pages)", true),
        ("request.query.page == '2' && int(request.query['page']) >= 2", true),
        ("request.query.name == 'Jürgen X'", true),
        ("request.query.empty == ''", true),
        ("size(request.query) == 3 && request.cookies.size() == 2", true),
        ("request.cookies.group == 'beta-1' && request.cookies.id == '7'", true),
        ("request.headers.exists(name, name.startsWith('x-pl') && request.headers[name] == 'gold')", true),
        ("request.query.all(name, request.query[name] != '3')", true),
        ("request.query.exists_one(name, request.query[name] == '2')", true),
        ("request.headers.filter(n, n.startsWith('x-')).size() == 3", true),
        ("request.cookies.map(n, n.upperAscii()) == ['GROUP', 'ID']", true),
        ("request.query.map(n, n.size() > 4, n) == ['empty']", true),
        ("['x-plan', 'x-none'].exists(h, h in request.headers)", true),
        ("['a', 'b'].all(a, ['a', 'b'].exists(b, a == b))", true),
        ("request.headers['x-plan'].matches('^(gold|silver)$')", true),
        ("matches(request.path, 'b/')", true),
        ("request.headers['x-plan'].matches('GOLD')", false),
        ("request.headers['x-plan'].upperAscii() == 'GOLD' && 'ÄB'.lowerAscii() == 'Äb'", true),
        ("(request.method == 'POST' ? request.headers : request.query)['x-plan'] == 'gold'", true),
        ("1 + 2 * 3 == 7 && 7 % 2 == 1 && -1 < 1 && 1.5 > 1 && 1u == 1 && 'a' + 'b' == 'ab'", true),
        ("[1, 2] + [3] == [1, 2, 3] && [1, 2][1] == 2 && 2 in [1, 2] && [] == []", true),
        ("string(1) == '1' && double('1.5') == 1.5 && uint('1') == 1u && bool('true')", true),
        ("true", true),
        // What one side fails of, the other may know.
        ("request.headers['x-none'] == 'a' || request.method == 'POST'", true),
        ("['request'].exists(request, request == 'request')", true),
    ] {
        assert_eq!(said(text, &request), Ok(expected), "{text}");
    }
}

#[test]
fn what_fails_does_not_hold_and_says_why() {
    let mut request = request();
    request.extensions_mut().remove::<ClientAddr>();
    for (text, why) in [
        ("request.headers['x-none'] == 'a'", "x-none"),
        ("request.headers[request.query.name] == 'a'", "Jürgen X"),
        ("request.headers['X-PLAN'.lowerAscii() + 'X'] == 'a'", "x-planX"),
        ("int(request.headers['x-plan']) > 1", "int"),
        ("1 / (size(request.path) - 8) == 1", "zero"),
        ("[1][size(request.path)] == 1", "out of bounds"),
        ("9223372036854775807 + size(request.path) > 0", "Overflow"),
        ("client.ip == '10.1.2.3'", "client.ip"),
        ("!(request.headers['x-none'] == 'a')", "x-none"),
        ("request.query.map(n, 1 / 0) == [1]", "zero"),
    ] {
        let failed = said(text, &request).expect_err(text);
        assert!(failed.contains(why), "{text}: {failed}");
    }
}
