//! HTTP proxies: who asks for one, and the CONNECT tunnel.

use crate::{error::ConnectError, target};
use http::Uri;
use shardwire_protocol::handshake::response::ResponseHead;
use std::env;
use target::Target;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Whether to connect through an HTTP proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Proxy {
    /// As the environment says when the connection is opened: `HTTPS_PROXY` for `wss`, `HTTP_PROXY` for `ws`, else
    /// `ALL_PROXY`, each also in lower case; hosts in `NO_PROXY` directly. `HTTP_PROXY` in upper case is not obeyed where
    /// `REQUEST_METHOD` is set: in a CGI program a request's header would choose it.
    #[default]
    Environment,
    /// Never.
    Direct,
    /// Always this one, such as `http://user:password@proxy:3128`.
    Through(String),
}

/// The proxy to go through.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) authorization: Option<String>,
}

impl Proxy {
    pub(super) fn route(&self, target: &Target) -> Result<Option<Route>, ConnectError> {
        match self {
            Proxy::Direct => Ok(None),
            Proxy::Through(url) => parse(url).map(Some),
            Proxy::Environment => {
                let get = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
                chosen(target, get).map(|url| parse(&url)).transpose()
            }
        }
    }
}

/// The proxy's URL that the environment `get` names for `target`.
fn chosen(target: &Target, get: impl Fn(&str) -> Option<String>) -> Option<String> {
    let any = |names: &[&str]| names.iter().find_map(|name| get(name));
    if any(&["no_proxy", "NO_PROXY"]).is_some_and(|list| is_excepted(&list, target)) {
        return None;
    }
    let own = match target.secure {
        true => any(&["https_proxy", "HTTPS_PROXY"]),
        false if get("REQUEST_METHOD").is_some() => any(&["http_proxy"]),
        false => any(&["http_proxy", "HTTP_PROXY"]),
    };
    own.or_else(|| any(&["all_proxy", "ALL_PROXY"]))
}

/// Whether a `NO_PROXY` list names the host: itself, a domain it is in (with or without a leading dot), or `*`.
fn is_excepted(list: &str, target: &Target) -> bool {
    let host = target.host.to_ascii_lowercase();
    list.split(',').map(str::trim).any(|item| {
        let item = item.to_ascii_lowercase();
        let (name, port) = match item.rsplit_once(':') {
            Some((name, port)) if !name.contains(':') || name.ends_with(']') => {
                (name, port.parse().ok())
            }
            _ => (item.as_str(), None),
        };
        let name = name.trim_matches(['[', ']']);
        let name = name.strip_prefix('.').unwrap_or(name);
        let inside = || {
            host.strip_suffix(name)
                .is_some_and(|front| front.ends_with('.'))
        };
        !name.is_empty()
            && port.is_none_or(|port: u16| port == target.port)
            && (name == "*" || host == name || inside())
    })
}

fn parse(url: &str) -> Result<Route, ConnectError> {
    // The password, if any, must not get into logs: only what is behind it is named.
    let shown = url.rsplit('@').next().unwrap_or_default();
    let fault = |what: &str| ConnectError::Options(format!("the proxy {shown:?} {what}"));
    let with_scheme = match url.contains("://") {
        true => url.to_owned(),
        false => format!("http://{url}"),
    };
    let uri: Uri = with_scheme.parse().map_err(|_| fault("is no URL"))?;
    if uri.scheme_str() != Some("http") {
        return Err(fault("must be an http:// one"));
    }
    let authority = uri.authority().ok_or_else(|| fault("has no host"))?;
    Ok(Route {
        host: authority.host().trim_matches(['[', ']']).to_owned(),
        port: authority.port_u16().unwrap_or(80),
        authorization: authority
            .as_str()
            .rsplit_once('@')
            .map(|(credentials, _)| target::basic(credentials)),
    })
}

/// Asks the proxy at the other end of `stream` for a tunnel to `target` (RFC 9110 section 9.3.6).
pub(super) async fn tunnel(
    stream: &mut TcpStream,
    target: &Target,
    authorization: Option<&str>,
) -> Result<(), ConnectError> {
    let host = match target.host.contains(':') {
        true => format!("[{}]:{}", target.host, target.port),
        false => format!("{}:{}", target.host, target.port),
    };
    let mut request = format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n");
    if let Some(authorization) = authorization {
        request.push_str(&format!("Proxy-Authorization: {authorization}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::with_capacity(256);
    loop {
        // Byte by byte would be slow, but more than the head must not be taken: a peeked answer is taken exactly.
        let mut window = [0; 1024];
        let seen = stream.peek(&mut window).await?;
        if seen == 0 {
            return Err(ConnectError::Proxy("it closed the connection".into()));
        }
        let before = head.len();
        head.extend_from_slice(&window[..seen]);
        let read =
            ResponseHead::read(&head).map_err(|error| ConnectError::Proxy(error.to_string()))?;
        let taken = read.as_ref().map_or(head.len(), |response| response.len) - before;
        stream.read_exact(&mut window[..taken]).await?;
        match read {
            None => {}
            Some(response) if (200..300).contains(&response.status) => return Ok(()),
            Some(response) => {
                return Err(ConnectError::Proxy(format!(
                    "HTTP status {}",
                    response.status
                )));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn choose(url: &str, variables: &[(&str, &str)]) -> Option<String> {
        let get = |name: &str| {
            let found = variables.iter().find(|(variable, _)| *variable == name)?;
            Some(found.1.to_owned())
        };
        chosen(&Target::parse(url).unwrap(), get)
    }

    #[test]
    fn the_environment_chooses_by_scheme() {
        let all = [
            ("HTTPS_PROXY", "s"),
            ("http_proxy", "p"),
            ("ALL_PROXY", "a"),
        ];
        assert_eq!(choose("wss://x", &all).as_deref(), Some("s"));
        assert_eq!(choose("ws://x", &all).as_deref(), Some("p"));
        assert_eq!(choose("ws://x", &all[..1]), None);
        assert_eq!(choose("ws://x", &all[2..]).as_deref(), Some("a"));
        let cgi = [("HTTP_PROXY", "p"), ("REQUEST_METHOD", "GET")];
        assert_eq!(choose("ws://x", &cgi[..1]).as_deref(), Some("p"));
        assert_eq!(choose("ws://x", &cgi), None);
    }

    #[test]
    fn exceptions_go_directly() {
        for (list, url, direct) in [
            ("*", "ws://a", true),
            ("a", "ws://a", true),
            ("b, A ", "ws://a", true),
            ("a", "ws://ba", false),
            ("a.b", "ws://x.a.b", true),
            (".a.b", "ws://x.a.b", true),
            ("a.b", "ws://xa.b", false),
            ("a:81", "ws://a", false),
            ("a:81", "ws://a:81", true),
            ("::1", "ws://[::1]:9", true),
            ("[::1]:9", "ws://[::1]:9", true),
            ("[::1]:9", "ws://[::1]:8", false),
            ("", "ws://a", false),
            (",", "ws://a", false),
        ] {
            let variables = [
                ("no_proxy", list),
                ("http_proxy", "p"),
                ("https_proxy", "p"),
            ];
            assert_eq!(choose(url, &variables).is_none(), direct, "{list} {url}");
        }
    }

    #[test]
    fn urls_of_proxies() {
        let route = parse("http://me:pw@proxy:3128").unwrap();
        assert_eq!((route.host.as_str(), route.port), ("proxy", 3128));
        assert_eq!(route.authorization.unwrap(), "Basic bWU6cHc=");
        assert_eq!(parse("proxy").unwrap().port, 80);
        let error = parse("socks5://me:secret@proxy").unwrap_err().to_string();
        assert!(
            error.contains("http://") && !error.contains("secret"),
            "{error}"
        );
    }
}
