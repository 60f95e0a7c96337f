//! `[listen]`: where clients connect.

use std::net::{Ipv4Addr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::bounds;
use crate::config::check::Checker;
use crate::config::sections::proxy::{Proxy, ProxySettings};
use crate::config::sections::tls::{Tls, TlsSettings};
use crate::config::text::listen_address;

/// Where clients connect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Listen {
    /// IP address and port to listen on. `127.0.0.1` and `[::1]` are reachable from this machine only, `0.0.0.0` and `[::]` from
    /// everywhere. Port 0 takes a free one, which the start-up log names. Names are not looked up.
    #[serde(with = "listen_address")]
    #[schemars(with = "String", extend("x-allowed" = "an IP address and a port, such as \"127.0.0.1:8080\" or \"[::]:8080\""))]
    pub address: SocketAddr,

    /// Connections the kernel keeps waiting, per shard, until the shard accepts them. The kernel cuts it at `net.core.somaxconn`
    /// (4096 on most machines); a wave of reconnecting clients above it waits for the next SYN retry.
    #[schemars(extend("x-allowed" = bounds::BACKLOG.to_string()))]
    pub backlog: usize,

    /// Proxies and load balancers in front.
    pub proxy: Proxy,

    /// The certificate that makes `wss://` of `ws://`.
    pub tls: Tls,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            backlog: 1_024,
            proxy: Proxy::default(),
            tls: Tls::default(),
        }
    }
}

/// `[listen]`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenSettings {
    /// Where to bind; port 0 means any free one.
    pub address: SocketAddr,
    /// Connections the kernel keeps waiting per shard (`listen(2)`); at least 1.
    pub backlog: u16,
    /// Whom to believe about who the client is.
    pub proxy: ProxySettings,
    /// The certificate; none when connections are plain.
    pub tls: Option<TlsSettings>,
}

impl ListenSettings {
    /// Whether only this machine can connect, and not on behalf of others. Several defaults are friendlier then.
    pub fn on_loopback(&self) -> bool {
        self.address.ip().to_canonical().is_loopback() && !self.proxy.in_use()
    }
}

impl Listen {
    pub(in crate::config) fn check(&self, checker: &mut Checker) -> ListenSettings {
        let settings = ListenSettings {
            address: self.address,
            backlog: checker.whole("listen.backlog", self.backlog, &bounds::BACKLOG),
            proxy: self.proxy.check(checker),
            tls: self.tls.check(checker),
        };
        if settings.tls.is_none() && !self.address.ip().to_canonical().is_loopback() {
            // No fault: something in front may speak TLS. But nobody should learn it from an eavesdropper.
            checker.note(format!(
                "listening on {} without TLS: what clients and engine say can be read and changed on the way, unless a proxy in front speaks TLS; set listen.tls.certificate and listen.tls.key",
                self.address
            ));
        }
        settings
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn loopback_is_known_in_every_spelling() {
        let on_loopback = |address: &str| {
            ListenSettings {
                address: address.parse().unwrap(),
                backlog: 1,
                proxy: ProxySettings::default(),
                tls: None,
            }
            .on_loopback()
        };
        for address in [
            "127.0.0.1:0",
            "127.8.9.10:80",
            "[::1]:80",
            "[::ffff:127.0.0.1]:80",
        ] {
            assert!(on_loopback(address), "{address}");
        }
        for address in [
            "0.0.0.0:80",
            "[::]:80",
            "192.0.2.1:80",
            "[::ffff:192.0.2.1]:80",
        ] {
            assert!(!on_loopback(address), "{address}");
        }
    }
}
