//! The in-process stack for benches: one worker's edge without a listener.

use crate::assemble::{Assembly, Observers};
use crate::config;
pub use crate::end::RequestStream;
use crate::stack::Edge;
use bytes::Bytes;
use gateway_core::{BoxError, ClientAddr};
use gateway_observe::{AccessLog, Metrics, prometheus};
use http::{Request, Response};
use http_body::Body;
use std::path::Path;

/// One worker's edge, as the binary has it.
pub struct InProcess<B: RequestStream> {
    edge: Edge<B>,
    /// Lives as long as lines are written.
    _log: Option<AccessLog>,
}

impl<B> InProcess<B>
where
    B: RequestStream,
{
    /// The edge of a configuration file.
    ///
    /// # Errors
    /// What `gateway check` would say.
    pub fn new(config: &Path) -> Result<Self, BoxError> {
        let config = config::load(Some(config)).map_err(|mistakes| mistakes.to_string())?;
        let metrics = if config.settings.metrics.0 { Some(Metrics::new(prometheus()?.0)) } else { None };
        let log = config.settings.access_log.0.on().map(AccessLog::open).transpose()?;
        let observers = Observers { metrics, lines: log.as_ref().map(AccessLog::lines) };
        Ok(Self { edge: Assembly::new(&config.plan, observers).edge(&config.plan), _log: log })
    }

    /// Answers one request.
    pub async fn call(&self, request: Request<B>, client: ClientAddr) -> Response<impl Body<Data = Bytes>> {
        match self.edge.call(request, client).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}
