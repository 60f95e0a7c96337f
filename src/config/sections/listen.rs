//! `[listen]`: where clients connect.

use std::net::{Ipv4Addr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shardwire_protocol::handshake::origin::OriginPattern;

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

    /// Whether clients may connect that name no origin: all programs that are no browsers, which may also name any origin they like.
    /// Without effect while `origins` lets everybody in.
    #[schemars(extend("x-allowed" = "`\"allow\"`, `\"refuse\"`"))]
    pub missing_origin: MissingOrigin,

    /// Pages whose scripts may connect, by the origin that browsers name in the upgrade request: scheme, host and port exactly, such as
    /// `"https://app.example.org"` or `"http://localhost:3000"`; a `*` in a host stands for one whole label
    /// (`"https://*.example.org"`), `"null"` for pages without an origin. Every other upgrade is answered 403. `"*"` lets every page in: no
    /// harm while clients identify themselves by tokens that only the right page has, but a gap as soon as a cookie, an address or
    /// being on this machine is enough.
    #[schemars(extend("x-allowed" = "a list of origins, or [\"*\"]"))]
    pub origins: Vec<String>,

    /// Proxies and load balancers in front.
    pub proxy: Proxy,

    /// The certificate that makes `wss://` of `ws://`.
    pub tls: Tls,
}

/// What becomes of clients that name no origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum MissingOrigin {
    /// They may connect.
    Allow,
    /// They are answered 403.
    Refuse,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            backlog: 1_024,
            proxy: Proxy::default(),
            tls: Tls::default(),
            missing_origin: MissingOrigin::Allow,
            origins: vec!["*".to_owned()],
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
    /// Whose scripts may connect.
    pub origins: Vec<OriginPattern>,
    /// Whether clients may that name none.
    pub missing_origin: MissingOrigin,
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
            origins: self.check_origins(checker),
            missing_origin: self.missing_origin,
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

    fn check_origins(&self, checker: &mut Checker) -> Vec<OriginPattern> {
        const KEY: &str = "listen.origins";
        let mut origins = Vec::with_capacity(self.origins.len());
        for origin in &self.origins {
            match origin.parse() {
                Ok(pattern) => origins.push(pattern),
                Err(error) => checker.refuse(KEY, format!("{origin:?}"), format!("{error}")),
            }
        }
        if self.origins.is_empty() && self.missing_origin == MissingOrigin::Refuse {
            let problem =
                "no page and no other client could connect: name one, or set listen.missing_origin";
            checker.refuse(KEY, "[]", problem.to_owned());
        }
        origins
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
                origins: Vec::new(),
                missing_origin: MissingOrigin::Allow,
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

    #[test]
    fn every_wrong_origin_is_told() {
        let check = |listen: &Listen| {
            let mut checker = Checker::default();
            let settings = listen.check(&mut checker);
            checker.finish().map(|_| settings)
        };
        let settings = check(&Listen::default()).unwrap();
        assert!(settings.origins[0].is_any());
        let origins = ["https://*.example.org", "null", "example.org", "https://*"];
        let listen = Listen {
            origins: origins.map(str::to_owned).to_vec(),
            ..Listen::default()
        };
        let faults = check(&listen).unwrap_err();
        assert_eq!(faults.iter().count(), 2, "{faults}");
        let nobody = Listen {
            origins: Vec::new(),
            missing_origin: MissingOrigin::Refuse,
            ..Listen::default()
        };
        assert!(check(&nobody).is_err());
    }
}
