//! `[listen.proxy]`: whose word counts for who the client is.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shardwire_protocol::proxy::forwarded::Field;
use shardwire_protocol::proxy::{Accepted, Network, Networks};

use crate::config::bounds;
use crate::config::check::Checker;

/// Proxies and load balancers in front (contract D17). Without this section the client is whoever connects, and headers that say
/// otherwise are ignored. With it, limits, placement and logs go by the client's address instead of the proxy's; and because a proxy
/// serves the public, the defaults for a public address hold even when the engine listens on loopback.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Proxy {
    /// The request header in which trusted HTTP proxies name the client. It is read from the right, one trusted proxy after the other,
    /// so that nothing a client wrote into it counts. Set the one that your proxy writes: the other passes through it as the client sent
    /// it.
    pub header: ForwardedHeader,

    /// The PROXY protocol, which trusted load balancers speak before everything else, TLS included. With any but `"none"` it is
    /// required: a connection from elsewhere, or without the header within one second, is dropped. It is never guessed.
    pub protocol: ProxyProtocol,

    /// Addresses and networks of your proxies. Trust no network that clients are in: whoever connects from one can name any address.
    #[schemars(extend("x-allowed" = "a list of addresses and networks such as [\"10.0.0.0/8\", \"2001:db8::7\"]"))]
    pub trusted: Vec<String>,
}

/// Which request header trusted proxies write.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum ForwardedHeader {
    /// None is believed.
    #[default]
    None,
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// Which version of the PROXY protocol trusted proxies speak.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum ProxyProtocol {
    /// They do not.
    #[default]
    None,
    /// The line of text.
    V1,
    /// The binary header.
    V2,
    /// Either of the two.
    Any,
}

impl fmt::Display for ForwardedHeader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::None => "none",
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        })
    }
}

impl fmt::Display for ProxyProtocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::None => "none",
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::Any => "any",
        })
    }
}

/// `[listen.proxy]`, checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxySettings {
    /// The request header that trusted proxies write; none: no header is believed.
    pub header: Option<Field>,
    /// The PROXY protocol that every connection must begin with; none: it is not spoken.
    pub protocol: Option<Accepted>,
    /// Who is believed.
    pub trusted: Networks,
}

impl ProxySettings {
    /// Whether proxies connect on behalf of others.
    pub fn in_use(&self) -> bool {
        self.header.is_some() || self.protocol.is_some()
    }
}

impl Proxy {
    pub(in crate::config) fn check(&self, checker: &mut Checker) -> ProxySettings {
        const TRUSTED: &str = "listen.proxy.trusted";
        if self.trusted.len() > bounds::TRUSTED_NETWORKS {
            let problem = format!("must be at most {} networks", bounds::TRUSTED_NETWORKS);
            checker.refuse(TRUSTED, format!("{} networks", self.trusted.len()), problem);
        }
        let mut read = |text: &String| match text.parse::<Network>() {
            Ok(network) => Some(network),
            Err(error) => {
                checker.refuse(TRUSTED, format!("{text:?}"), error.to_string());
                None
            }
        };
        let settings = ProxySettings {
            header: match self.header {
                ForwardedHeader::None => None,
                ForwardedHeader::XForwardedFor => Some(Field::XForwardedFor),
                ForwardedHeader::Forwarded => Some(Field::Forwarded),
            },
            protocol: match self.protocol {
                ProxyProtocol::None => None,
                ProxyProtocol::V1 => Some(Accepted::V1),
                ProxyProtocol::V2 => Some(Accepted::V2),
                ProxyProtocol::Any => Some(Accepted::Any),
            },
            trusted: self.trusted.iter().filter_map(&mut read).collect(),
        };
        let needs_trust = "needs to know whom to believe: set listen.proxy.trusted to the addresses of your proxies";
        if self.trusted.is_empty() && settings.protocol.is_some() {
            let found = format!("\"{}\"", self.protocol);
            checker.refuse_relation(
                "listen.proxy.protocol",
                &[TRUSTED],
                found,
                needs_trust.to_owned(),
            );
        }
        if self.trusted.is_empty() && settings.header.is_some() {
            let found = format!("\"{}\"", self.header);
            checker.refuse_relation(
                "listen.proxy.header",
                &[TRUSTED],
                found,
                needs_trust.to_owned(),
            );
        }
        if !self.trusted.is_empty() && !settings.in_use() {
            checker.note(
                "listen.proxy.trusted is without effect while listen.proxy.header and listen.proxy.protocol are \"none\"".to_owned(),
            );
        }
        settings
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn faults(proxy: &Proxy) -> Vec<String> {
        let mut checker = Checker::default();
        proxy.check(&mut checker);
        match checker.finish() {
            Ok(_) => Vec::new(),
            Err(faults) => faults.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn trust_is_needed_and_every_slip_in_it_told() {
        let blind = Proxy {
            header: ForwardedHeader::Forwarded,
            protocol: ProxyProtocol::V2,
            trusted: Vec::new(),
        };
        let told = faults(&blind);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains("listen.proxy.protocol = \"v2\": needs to know whom to believe"));
        let slips = Proxy {
            trusted: vec!["10.0.0.0/8".into(), "10.0.0.1/8".into(), "lb.local".into()],
            ..blind.clone()
        };
        let told = faults(&slips);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains("did you mean 10.0.0.0/8?"), "{told:?}");
        let good = Proxy {
            trusted: vec!["10.0.0.0/8".into()],
            ..blind
        };
        assert_eq!(faults(&good), Vec::<String>::new());
    }

    #[test]
    fn trust_without_use_is_noted() {
        let mut checker = Checker::default();
        let idle = Proxy {
            trusted: vec!["::1".into()],
            ..Proxy::default()
        };
        assert!(!idle.check(&mut checker).in_use());
        assert!(checker.finish().unwrap()[0].contains("without effect"));
    }
}
