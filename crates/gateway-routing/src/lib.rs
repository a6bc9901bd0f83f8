//! A compiled route table: host, path, method and conditions of a request, as values and as a tower service.
//!
//! The most specific route wins, whatever the order they were written in (the order of the Kubernetes Gateway
//! API):
//!
//! | first | then |
//! |---|---|
//! | 1. `priority` | the higher |
//! | 2. host | exact, then the longest `*.shop.example`, then the longest `www.*`, then regular expressions, then none |
//! | 3. path | exact, then parameters, then the longest prefix, then regular expressions; a literal segment before a parameter |
//! | 4. method | routes that name methods |
//! | 5. conditions | more header matches, then more query matches, then cookies, then client networks, then an expression |
//! | 6. order | as written |
//!
//! When a route's method or conditions do not fit, the next best is tried, down to the shortest prefix. Only if
//! nothing but the method was wrong is the answer 405 with `Allow` (204 to `OPTIONS`). The cost of a look-up does not depend on the
//! number of routes, but of those with one host and path, which are tried in turn: it reads two cache lines for each
//! segment of the path, and no more of a route that asks for nothing but host, path and method.
//!
//! A path is matched exactly, by prefix, with parameters (`/users/{id}`), or by a regular expression
//! (`~/v(?P<version>[0-9]+)/.*`) whose named groups are parameters too; see [`PathPattern`]. What stood in their place is in the
//! [`Captures`](gateway_core::Captures) of the request, along with those of a [host expression](HostPattern) and the
//! rest below a prefix; routes that do not ask for them pay nothing. Expressions of one
//! host are looked for together, in time linear in the path's length.
//!
//! Besides host, path and method a route may ask for [headers](HeaderMatch), [query parameters](QueryMatch),
//! [cookies](CookieMatch) and the client's [network](Networks). A value is tested by a [`ValueMatch`]: present,
//! exact, prefix, suffix, contains, regular expression (linear time), range of numbers, or the opposite of one.
//! [`MatchSettings`] is how an operator writes them. With the feature `cel` a route may ask for more at once by an
//! [expression](When), `request.method == 'GET' || 'x-plan' in request.headers`, which is looked at last; routes
//! without one pay nothing for it.
//!
//! Two routes that take the same requests with the same right are a [`Conflict`], and there is no table. A route
//! that another one always comes before is [`Unreachable`], which [`RouteTable::lint`] finds.
//! [`RouteTable::explain`] tells why a request finds the route it finds, and what kept each of the others from it.
//!
//! A [`Dispatch`] is always ready; the route that a request finds is made ready for it. What to mind in axum, hyper and
//! tonic: [in a service of yours](gateway_core#the-layers-in-a-service-of-yours).
//!
//! ```
//! use axum::{body::Body, extract::Request, response::IntoResponse};
//! use gateway_routing::{Dispatch, RouteMatch, RouteTable};
//! use tower::{service_fn, util::BoxCloneSyncService, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! type Route = BoxCloneSyncService<Request, axum::response::Response, std::convert::Infallible>;
//! let says = |text: &'static str| Route::new(service_fn(move |_: Request| async move { Ok(text.into_response()) }));
//! let table = RouteTable::build(vec![
//!     (RouteMatch::path("/api/users/*")?, says("users")),
//!     (RouteMatch::path("/api/users/{id}")?, says("one user")),
//! ])?;
//! let app = axum::Router::new().fallback_service(Dispatch::new(table));
//!
//! for (path, answer) in [("/api/users", "users"), ("/api/users/7", "one user"), ("/api/users/7/x", "users")] {
//!     let response = app.clone().oneshot(Request::get(path).body(Body::empty())?).await?;
//!     assert_eq!(axum::body::to_bytes(response.into_body(), 1024).await?, answer);
//! }
//! let response = app.oneshot(Request::get("/api/usersX").body(Body::empty())?).await?;
//! assert_eq!(response.status(), 404);
//! # Ok(()) }
//! ```

mod conditions;
mod dispatch;
mod host;
mod lower;
mod networks;
mod params;
mod path;
mod regex;
mod request;
mod route;
mod settings;
mod table;
mod value;
mod when;

pub use conditions::{CookieMatch, HeaderMatch, QueryMatch};
pub use dispatch::{Dispatch, DispatchFuture};
pub use host::HostPattern;
pub use networks::Networks;
pub use path::{PathPattern, PatternError};
pub use route::RouteMatch;
pub use settings::MatchSettings;
pub use table::{
    Because, Candidate, Conflict, Conflicts, Explanation, Found, Match, Outcome, Part, PathHint, Refusal,
    RouteTable, Unreachable,
};
pub use value::{ValueMatch, ValueSettings};
pub use when::{CallerWhen, When, WhenMistake, WhenMistakes};
