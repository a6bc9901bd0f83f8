//! What would become of a request.

use super::{Admin, Answer, bytes_of, refused, typed};
use crate::check::Format;
use crate::config::{self, Checked};
use crate::explain::{self, Asked};
use gateway_core::Code;
use http::Request;
use hyper::body::Incoming;

impl Admin {
    /// `POST /explain`: what becomes of the request in the body, by the configuration in force. No live request is held
    /// up, and nothing is counted.
    pub(super) async fn explain(&self, request: Request<Incoming>) -> Answer {
        let body = match bytes_of(request).await {
            Ok(body) => body,
            Err(problem) => return problem.into_response(),
        };
        let asked = match Asked::from_json(&body) {
            Ok(asked) => asked,
            Err(message) => return refused(Code::BadRequest, &message),
        };
        self.looking_back(move |checked| {
            let explained =
                explain::explain(checked, &asked, Format::Json).map_err(|error| error.to_string())?;
            Ok(explained.text)
        })
        .await
    }

    /// Answers with what JSON is made of the configuration in force and of where all of it is written.
    pub(super) async fn looking_back(
        &self,
        said: impl FnOnce(&Checked) -> Result<String, String> + Send + 'static,
    ) -> Answer {
        let plan = self.view.load().plan.clone();
        // Stacks are of one thread, and this one has other things to do.
        let looking = tokio::task::spawn_blocking(move || {
            let checked = config::look_back(&plan).map_err(|mistakes| mistakes.to_string())?;
            said(&checked)
        });
        match looking.await {
            Ok(Ok(text)) => typed(text, "application/json"),
            Ok(Err(message)) => refused(Code::InternalError, &message),
            Err(_) => refused(Code::InternalError, "the configuration could not be looked at"),
        }
    }
}
