//! Limits of nothing, with which no request would ever be answered: elsewhere some of them mean "no limit".

use super::planner::Planner;
use crate::config::settings::ServiceSettings;
use gateway_core::units::Timespan;

impl Planner<'_> {
    /// What the server may not be given.
    pub(super) fn server_has_limits(&mut self) {
        let server = &self.settings.server;
        for (name, time) in [
            ("header_timeout", server.header_timeout),
            ("body_timeout", server.body_timeout),
            ("write_timeout", server.write_timeout),
            ("tunnel_timeout", server.tunnel_timeout),
        ] {
            self.is_some_time("server", name, time);
        }
        if let Some(age) = server.tunnel_max_age {
            self.is_some_time("server", "tunnel_max_age", age);
        }
        for (name, is_zero) in [
            ("max_head", server.max_head.bytes() == 0),
            ("max_headers", server.max_headers == 0),
            ("max_streams", server.max_streams == 0),
        ] {
            if is_zero {
                self.noted::<(), _>("server", Err(format!("`{name}` is 0; expected at least 1")));
            }
        }
    }

    /// What the access log may not be given.
    pub(super) fn access_log_has_time(&mut self) {
        let flush = self.settings.access_log.0.on().map(|log| log.flush);
        if flush.is_some_and(|flush| flush < Timespan::millis(1)) {
            let message =
                "`flush` is under 1ms; expected 1ms or more: until then lines wait to be written together";
            self.noted::<(), _>("access_log", Err(message.to_owned()));
        }
    }

    /// What a service may not be given.
    pub(super) fn service_has_limits(&mut self, name: &str, service: &ServiceSettings) {
        let key = |part: &str| format!("services.{name}.{part}");
        let timeout = &service.timeout;
        self.is_some_time(&key("timeout"), "total", timeout.total);
        if let Some(per_try) = timeout.per_try {
            self.is_some_time(&key("timeout"), "per_try", per_try);
        }
        let connection = &service.connection;
        self.is_some_time(&key("connection"), "connect_timeout", connection.connect_timeout);
        self.is_some_time(&key("connection"), "body_idle_timeout", connection.body_idle_timeout);
        if let Some(time) = connection.event_idle_timeout {
            self.is_some_time(&key("connection"), "event_idle_timeout", time);
        }
        let balance = &service.balance;
        for (part, circuit) in
            [("circuit", &balance.circuit), ("endpoint_circuit", &balance.endpoint_circuit)]
        {
            if let Some(circuit) = circuit.on() {
                let key = key(&format!("balance.{part}"));
                self.is_some_time(&key, "window", circuit.window);
                self.is_some_time(&key, "open", circuit.open);
            }
        }
        self.are_attempts(&key("retry"), service.retry.attempts);
        self.are_statuses(&key("retry"), &service.retry.statuses);
    }

    /// A time that must be one.
    pub(super) fn is_some_time(&mut self, key: &str, name: &str, time: Timespan) {
        if time.is_zero() {
            let message =
                format!("`{name}` is 0s; expected more, and a long time such as \"24h\" for no limit");
            self.noted::<(), _>(key, Err(message));
        }
    }
}
