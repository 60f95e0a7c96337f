//! `[admin]`: the port for operators.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::bounds;
use crate::config::check::Checker;
use crate::config::text::{HIDDEN, Secret, optional_address};

/// The port for operators: `/health`, `/ready`, `/metrics` and the HTTP API, apart from where clients connect.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// IP address and port to listen on, such as `"127.0.0.1:9090"`. Not the one clients connect to. Without it there is no such port:
    /// an engine opens none that nobody asked for, and several engines on one machine do not get in each other's way. An address
    /// that others than this machine can reach needs a `key`.
    #[serde(with = "optional_address", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("x-allowed" = "an IP address and a port, such as \"127.0.0.1:9090\"", "x-default" = "none: no such port"))]
    pub address: Option<SocketAddr>,

    /// What a caller of the HTTP API must show: `Authorization: Bearer KEY`. Without it there is no API, only health, readiness and
    /// metrics. Where others than this machine can reach the port, `/metrics` needs it too. Best written as the variable, so that it
    /// stands in no file others read; `openssl rand -hex 32` makes a good one.
    #[schemars(extend("x-live" = true, "x-secret" = true, "x-allowed" = bounds::ADMIN_KEY_BYTES.to_string(), "x-default" = "none: no HTTP API"))]
    pub key: Option<Secret>,
}

/// `[admin]`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminSettings {
    /// Where to listen, if at all.
    pub address: Option<SocketAddr>,
    /// What a caller of the API must show; none: there is no API.
    pub key: Option<Secret>,
}

impl AdminSettings {
    /// Whether others than this machine can reach the port.
    pub fn is_public(&self) -> bool {
        self.address.is_some_and(is_public)
    }
}

fn is_public(address: SocketAddr) -> bool {
    !address.ip().to_canonical().is_loopback()
}

impl Admin {
    pub(in crate::config) fn check(
        &self,
        clients: SocketAddr,
        checker: &mut Checker,
    ) -> AdminSettings {
        if let Some(key) = &self.key {
            let text = key.expose();
            if !bounds::ADMIN_KEY_BYTES.allows(&text.len())
                || !text.bytes().all(|byte| byte.is_ascii_graphic())
            {
                let must = format!("must be {}", bounds::ADMIN_KEY_BYTES);
                checker.refuse("admin.key", HIDDEN, must);
            }
        }
        if let Some(address) = self.address {
            if address == clients && address.port() != 0 {
                checker.refuse_relation(
                    "admin.address",
                    &["listen.address"],
                    format!("\"{address}\""),
                    "must be another address or port than listen.address".to_owned(),
                );
            }
            match &self.key {
                None if is_public(address) => checker.refuse_relation(
                    "admin.address",
                    &["admin.key"],
                    format!("\"{address}\""),
                    "others than this machine can reach it, so it needs admin.key; or write \"127.0.0.1:9090\"".to_owned(),
                ),
                Some(_) if is_public(address) => checker.note(format!(
                    "admin.address = {address}: the key travels there unencrypted; keep that port in a private network, or behind a proxy that speaks TLS"
                )),
                None => checker.note("admin.key is not set: no HTTP API, only /health, /ready and /metrics".to_owned()),
                Some(_) => {}
            }
        } else if self.key.is_some() {
            checker.note("admin.key has no effect without admin.address".to_owned());
        }
        AdminSettings {
            address: self.address,
            key: self.key.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::config::{Config, Environment};

    fn faults(text: &str) -> String {
        let environment = Environment {
            cores: 2,
            open_file_limit: 10_000,
        };
        match Config::from_toml(text).unwrap().check(&environment) {
            Ok(settings) => settings.notes.join("\n"),
            Err(faults) => format!("FAULT {faults}"),
        }
    }

    #[test]
    fn a_port_that_others_reach_needs_a_key_and_the_key_never_shows() {
        let told = faults("[admin]\naddress = \"0.0.0.0:9090\"");
        assert!(
            told.starts_with("FAULT") && told.contains("admin.key"),
            "{told}"
        );
        let told = faults("[admin]\naddress = \"0.0.0.0:9090\"\nkey = \"0123456789abcdef\"");
        assert!(
            told.contains("unencrypted") && !told.contains("0123"),
            "{told}"
        );
        let told = faults("[admin]\naddress = \"127.0.0.1:9090\"\nkey = \"too short\"");
        assert!(
            told.contains("length from 16 to 256") && !told.contains("short"),
            "{told}"
        );
        let told = faults("[admin]\naddress = \"127.0.0.1:8080\"");
        assert!(told.contains("another address or port"), "{told}");
        assert!(faults("[admin]\naddress = \"127.0.0.1:0\"").contains("no HTTP API"));
    }
}
