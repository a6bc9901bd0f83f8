use super::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use gateway_core::BoxError;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full};
use std::collections::VecDeque;
use tower::{ServiceExt, service_fn};

const MESSAGE: &[u8] = b"\0\0\0\0\x02hi";
const OK_FRAME: &[u8] = b"\x80\0\0\0\x10grpc-status: 0\r\n";

/// A body of these frames, each when it is asked for.
#[derive(Debug, Default)]
struct Frames(VecDeque<Frame<Bytes>>);

impl Frames {
    fn of(pieces: &[&'static [u8]], trailers: Option<HeaderMap>) -> Self {
        let data = pieces.iter().map(|piece| Frame::data(Bytes::from_static(piece)));
        Self(data.chain(trailers.map(Frame::trailers)).collect())
    }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }
}

fn status(code: &'static str) -> HeaderMap {
    HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static(code))])
}

fn post(kind: &str) -> http::request::Builder {
    Request::post("/shop.Cart/Add").header("content-type", kind)
}

/// The service says in its answer's head what it saw of the request, and echoes the messages.
async fn echo(
    request: Request<GrpcWebRequestBody<Frames>>,
) -> Result<Response<Frames>, std::convert::Infallible> {
    let seen = |name: &str| request.headers().get(name).cloned().unwrap_or(HeaderValue::from_static("none"));
    let response = Response::builder()
        .header("content-type", seen("content-type"))
        .header("saw-te", seen("te"))
        .header("saw-length", seen("content-length"))
        .header("content-length", "7");
    let (mut frames, mut body) = (Frames::default(), request.into_body());
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => frames.0.push_back(frame),
            Err(error) => return Ok(response.header("error", error.to_string()).body(frames).unwrap()),
        }
    }
    frames.0.push_back(Frame::trailers(status("0")));
    Ok(response.body(frames).unwrap())
}

async fn call(request: Request<Frames>) -> Response<GrpcWebBody<Frames>> {
    GrpcWebLayer.layer(service_fn(echo)).oneshot(request).await.unwrap()
}

/// The frames of an answer: data as it came, and whether trailers did.
async fn frames(
    mut body: impl Body<Data = Bytes, Error = BoxError> + Unpin,
) -> (Vec<Bytes>, Option<HeaderMap>) {
    let (mut data, mut trailers) = (Vec::new(), None);
    while let Some(frame) = body.frame().await {
        match frame.unwrap().into_data() {
            Ok(piece) => data.push(piece),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    (data, trailers)
}

#[tokio::test]
async fn a_binary_call_is_grpc_to_the_service_and_ends_in_a_frame_of_trailers() {
    let request = post("application/grpc-web+proto").header("content-length", "7");
    let answer = call(request.body(Frames::of(&[MESSAGE], None)).unwrap()).await;
    let head = answer.headers();
    assert_eq!(head["content-type"], "application/grpc-web+proto");
    assert_eq!((&head["saw-te"], &head["saw-length"]), (&"trailers".parse().unwrap(), &"7".parse().unwrap()));
    assert!(!head.contains_key("content-length"), "the frame of trailers comes on top");
    assert!(answer.body().size_hint().exact().is_none());
    assert_eq!(frames(answer.into_body()).await, (vec![MESSAGE.into(), OK_FRAME.into()], None));
}

#[tokio::test]
async fn a_call_in_text_is_decoded_wherever_it_is_cut_and_answered_in_padded_pieces() {
    let request = post("application/grpc-web-text").header("content-length", "12");
    // "\0\0\0\0\x02" and "hi", each padded, cut anywhere.
    let answer = call(request.body(Frames::of(&[b"AAAAA", b"A", b"I=a", b"Gk="], None)).unwrap()).await;
    let head = answer.headers();
    assert_eq!(head["content-type"], "application/grpc-web-text");
    assert_eq!((&head["saw-length"], head.get("error")), (&"none".parse().unwrap(), None));
    let (pieces, trailers) = frames(answer.into_body()).await;
    assert_eq!(trailers, None);
    let decoded: Vec<u8> = pieces.iter().flat_map(|piece| STANDARD.decode(piece).unwrap()).collect();
    assert_eq!(decoded, [MESSAGE, OK_FRAME].concat(), "each piece is base64 for itself");
}

#[tokio::test]
async fn the_form_of_the_answer_is_the_one_that_is_accepted() {
    for (kind, accept, expected) in [
        ("application/grpc-web", "application/grpc-web-text", "application/grpc-web-text"),
        ("application/grpc-web-text", "application/grpc-web+proto", "application/grpc-web"),
        ("application/grpc-web-text+proto", "*/*", "application/grpc-web-text+proto"),
    ] {
        let answer = call(post(kind).header("accept", accept).body(Frames::default()).unwrap()).await;
        assert_eq!(answer.headers()["content-type"], expected, "{kind} {accept}");
    }
}

#[tokio::test]
async fn text_that_is_no_base64_or_cut_off_fails_the_body() {
    for (text, part) in [(&b"{\"a\":1}"[..], "is not base64"), (b"AAAAAAIoa", "ends within a group")] {
        let answer = call(post("application/grpc-web-text").body(Frames::of(&[text], None)).unwrap()).await;
        let error = answer.headers()["error"].to_str().unwrap();
        assert!(error.contains(part), "{error}");
    }
    let body = GrpcWebRequestBody::new(Frames::of(&[b"AAA"], Some(HeaderMap::new())), Some(Form::Text));
    let error = body.collect().await.unwrap_err();
    assert_eq!(error.downcast_ref::<GrpcWebError>(), Some(&GrpcWebError::CutOff), "before trailers as well");
}

#[tokio::test]
async fn an_outcome_in_the_head_stays_there_and_no_body_follows() {
    let refuse = service_fn(|_: Request<GrpcWebRequestBody<Empty<Bytes>>>| async {
        let response =
            Response::builder().header("content-type", "application/grpc").header("grpc-status", "7");
        Ok::<_, BoxError>(response.body(Frames::default()).unwrap())
    });
    let request = post("application/grpc-web-text").body(Empty::new()).unwrap();
    let answer = GrpcWebLayer.layer(refuse).oneshot(request).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "7");
    assert_eq!(answer.headers()["content-type"], "application/grpc-web-text");
    assert!(answer.body().is_end_stream());
    assert_eq!(answer.body().size_hint().exact(), Some(0));
    assert_eq!(frames(answer.into_body()).await, (vec![], None));
}

#[tokio::test]
async fn what_is_not_grpc_web_passes_untouched_both_ways() {
    let untouched = [
        post("application/grpc").header("content-length", "7"),
        post("application/json").header("content-length", "7"),
        Request::put("/").header("content-type", "application/grpc-web-text").header("content-length", "7"),
    ];
    for request in untouched {
        let answer = call(request.body(Frames::of(&[MESSAGE], None)).unwrap()).await;
        let head = answer.headers();
        assert_eq!((&head["saw-te"], &head["saw-length"]), (&"none".parse().unwrap(), &"7".parse().unwrap()));
        assert_eq!(head["content-length"], "7");
        assert_eq!(frames(answer.into_body()).await, (vec![MESSAGE.into()], Some(status("0"))));
    }
    let page = service_fn(|_: Request<GrpcWebRequestBody<Empty<Bytes>>>| async {
        let response =
            Response::builder().status(StatusCode::BAD_GATEWAY).header("content-type", "text/html");
        Ok::<_, BoxError>(response.header("content-length", "4").body(Full::from("oops")).unwrap())
    });
    let request = post("application/grpc-web").body(Empty::new()).unwrap();
    let answer = GrpcWebLayer.layer(page).oneshot(request).await.unwrap();
    assert_eq!(
        (answer.status(), &answer.headers()["content-length"]),
        (StatusCode::BAD_GATEWAY, &"4".parse().unwrap())
    );
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "oops");
}

#[test]
fn how_long_decoded_text_may_be_is_told_and_whether_any_is_left() {
    let hint = |text: &'static str, form| {
        let body = GrpcWebRequestBody::new(Full::new(Bytes::from(text)), form);
        (body.size_hint().lower(), body.size_hint().upper(), body.is_end_stream())
    };
    assert_eq!(hint("aGlo", Some(Form::Binary)), (4, Some(4), false));
    assert_eq!(hint("aGlo", Some(Form::Text)), (1, Some(6), false));
    assert_eq!(hint("", Some(Form::Text)), (0, Some(0), true));
}
