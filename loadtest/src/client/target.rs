//! Where to connect: a `ws://` or `wss://` URL, resolved once.

use std::net::{SocketAddr, ToSocketAddrs};

use anyhow::{Context, Result, bail};

/// A WebSocket server and a path on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Whether by TLS.
    pub tls: bool,
    /// The name or address in the URL, which a certificate must bear.
    pub name: String,
    /// The resolved address.
    pub address: SocketAddr,
    /// The `Host` header.
    pub host: String,
    /// Path and query, beginning with `/`.
    pub path: String,
}

impl Target {
    /// Reads `ws[s]://host[:port][/path][?query]` and resolves the host.
    ///
    /// # Errors
    /// With a text for the user: another scheme, no host, a bad port (0 is none that one could connect to, but may be one to listen at),
    /// a host that does not resolve.
    pub fn parse(url: &str) -> Result<Self> {
        let (tls, host, path) = split(url)?;
        let default_port = if tls { 443 } else { 80 };
        let (name, port) =
            name_and_port(&host, default_port).with_context(|| format!("in the URL {url:?}"))?;
        let address = (name, port)
            .to_socket_addrs()
            .with_context(|| format!("cannot resolve the host of {url:?}"))?
            .next()
            .with_context(|| format!("the host of {url:?} has no address"))?;
        let name = name.to_owned();
        Ok(Self {
            tls,
            name,
            address,
            host,
            path,
        })
    }
}

/// Whether by TLS, host with port, path with query.
fn split(url: &str) -> Result<(bool, String, String)> {
    let Some((scheme, rest)) = url.split_once("://") else {
        bail!("{url:?} is not a WebSocket URL; write ws://host:port/path");
    };
    let tls = match scheme.to_ascii_lowercase().as_str() {
        "ws" => false,
        "wss" => true,
        other => bail!("{other}:// is not a WebSocket URL; write ws://host:port/path"),
    };
    let rest = rest.split('#').next().unwrap_or(rest);
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    if host.is_empty() {
        bail!("the URL {url:?} names no host");
    }
    if host.contains('@') {
        bail!("a user name in the URL is not supported; use --header 'Authorization: …'");
    }
    if let Some(bad) = rest
        .chars()
        .find(|letter| letter.is_ascii_control() || *letter == ' ' || !letter.is_ascii())
    {
        bail!("the URL holds {bad:?}, which must be percent-encoded");
    }
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    Ok((tls, host.to_owned(), path))
}

fn name_and_port(host: &str, default_port: u16) -> Result<(&str, u16)> {
    let (name, port) = if let Some(rest) = host.strip_prefix('[') {
        let (name, after) = rest
            .split_once(']')
            .context("an IPv6 address needs its closing ]")?;
        (name, after.strip_prefix(':'))
    } else {
        match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        }
    };
    let port = match port {
        None => default_port,
        Some(text) => text
            .parse()
            .ok()
            .with_context(|| format!("{text:?} is not a port"))?,
    };
    Ok((name, port))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_url_becomes_address_host_and_path() {
        let target = Target::parse("ws://127.0.0.1:8080/ws?token=a%20b#part").unwrap();
        assert_eq!(target.address, "127.0.0.1:8080".parse().unwrap());
        assert_eq!(target.host, "127.0.0.1:8080");
        assert_eq!(target.path, "/ws?token=a%20b");
        let bare = Target::parse("WS://127.0.0.1").unwrap();
        assert_eq!((bare.address.port(), bare.path.as_str()), (80, "/"));
        assert!(!bare.tls);
        let secure = Target::parse("wss://127.0.0.1/x").unwrap();
        assert!(secure.tls && secure.address.port() == 443);
        assert_eq!(secure.name, "127.0.0.1");
        let query = Target::parse("ws://127.0.0.1:9?x=1").unwrap();
        assert_eq!(query.path, "/?x=1");
        let six = Target::parse("ws://[::1]:8080/").unwrap();
        assert_eq!(six.address, "[::1]:8080".parse().unwrap());
        assert_eq!(six.host, "[::1]:8080");
    }

    #[test]
    fn what_is_no_such_url_is_explained() {
        let message = |url: &str| format!("{:#}", Target::parse(url).unwrap_err());
        assert!(message("http://127.0.0.1/").contains("http:// is not a WebSocket URL"));
        assert!(message("127.0.0.1:8080").contains("ws://host:port/path"));
        assert!(message("ws:///x").contains("no host"));
        assert!(message("ws://127.0.0.1:99999/").contains("not a port"));
        assert!(message("ws://127.0.0.1:1/a b").contains("percent-encoded"));
        assert!(message("ws://me@127.0.0.1:1/").contains("--header"));
    }
}
