//! Where to connect to, from a URL.

use crate::error::ConnectError;
use base64::Engine;
use http::Uri;

/// A parsed `ws://` or `wss://` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Whether TLS is used (`wss`).
    pub secure: bool,
    /// Name or address, IPv6 without brackets.
    pub host: String,
    /// The port, also when it is the scheme's default.
    pub port: u16,
    /// The `Host` header: with the port unless it is the scheme's default.
    pub authority: String,
    /// Path and query, beginning with `/`.
    pub path_and_query: String,
    /// `Authorization` for a user name and password in the URL.
    pub(crate) authorization: Option<String>,
}

impl Target {
    /// The same with `name=value` in the query, unless `name` is there.
    pub(crate) fn with_query(mut self, name: &str, value: &str) -> Target {
        let query = self.path_and_query.split_once('?').map(|(_, query)| query);
        let names = |pair: &str| pair.split('=').next() == Some(name);
        if !query.is_some_and(|query| query.split('&').any(names)) {
            let joint = if query.is_some() { '&' } else { '?' };
            self.path_and_query += &format!("{joint}{name}={value}");
        }
        self
    }

    /// Parses a URL. `http` and `https` mean `ws` and `wss`, as in browsers.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Url`]: another scheme, no host, a fragment, or characters a URL may not have.
    pub fn parse(url: &str) -> Result<Target, ConnectError> {
        let fault = |what: &str| ConnectError::Url(format!("{url:?}: {what}"));
        // RFC 6455 section 3: fragments are meaningless and must not be used; http::Uri would drop them silently.
        if url.contains('#') {
            return Err(fault("a fragment is not allowed"));
        }
        let uri: Uri = url.parse().map_err(|error| fault(&format!("{error}")))?;
        let secure = match uri.scheme_str().map(str::to_ascii_lowercase).as_deref() {
            Some("ws" | "http") => false,
            Some("wss" | "https") => true,
            _ => return Err(fault("it must begin with ws:// or wss://")),
        };
        let authority = uri.authority().ok_or_else(|| fault("no host"))?;
        let default_port = if secure { 443 } else { 80 };
        let host = authority.host();
        if host.is_empty() {
            return Err(fault("no host"));
        }
        let after_user = authority.as_str().rsplit('@').next().unwrap_or_default();
        let port = match after_user.get(host.len()..).unwrap_or_default() {
            "" | ":" => default_port,
            colon_and_number => colon_and_number[1..]
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or_else(|| fault("the port is not a number from 1 to 65535"))?,
        };
        let authorization = authority
            .as_str()
            .rsplit_once('@')
            .map(|(credentials, _)| basic(credentials));
        Ok(Target {
            secure,
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            authority: match port == default_port {
                true => host.to_owned(),
                false => format!("{host}:{port}"),
            },
            path_and_query: match uri.path_and_query().map(|path| path.as_str()) {
                None | Some("") => "/".to_owned(),
                Some(path) if path.starts_with('?') => format!("/{path}"),
                Some(path) => path.to_owned(),
            },
            authorization,
        })
    }
}

/// The value of a `Basic` authorization header for `user:password` as a URL writes it (percent-encoded).
pub(crate) fn basic(credentials: &str) -> String {
    let plain = percent_decoded(credentials);
    format!(
        "Basic {}",
        base64::engine::general_purpose::STANDARD.encode(plain)
    )
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let decoded = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match decoded {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn parsed(url: &str) -> (bool, String, u16, String, String) {
        let target = Target::parse(url).unwrap();
        (
            target.secure,
            target.host,
            target.port,
            target.authority,
            target.path_and_query,
        )
    }

    #[test]
    fn urls_of_all_shapes() {
        let row = |secure, host: &str, port, authority: &str, path: &str| {
            (secure, host.into(), port, authority.into(), path.into())
        };
        for (url, expected) in [
            ("ws://a", row(false, "a", 80, "a", "/")),
            ("ws://a:80/x", row(false, "a", 80, "a", "/x")),
            ("WSS://a.b/x?y=z", row(true, "a.b", 443, "a.b", "/x?y=z")),
            ("wss://a?y", row(true, "a", 443, "a", "/?y")),
            (
                "ws://[::1]:9001/",
                row(false, "::1", 9001, "[::1]:9001", "/"),
            ),
            ("ws://u:p@a:81", row(false, "a", 81, "a:81", "/")),
            ("https://a", row(true, "a", 443, "a", "/")),
        ] {
            assert_eq!(parsed(url), expected, "{url}");
        }
    }

    #[test]
    fn a_query_is_joined_once() {
        for (url, expected) in [
            ("ws://a", "/?hello=1"),
            ("ws://a/ws", "/ws?hello=1"),
            ("ws://a/ws?user=ann", "/ws?user=ann&hello=1"),
            ("ws://a/ws?hello=0&user=ann", "/ws?hello=0&user=ann"),
            ("ws://a/ws?hello", "/ws?hello"),
        ] {
            let target = Target::parse(url).unwrap().with_query("hello", "1");
            assert_eq!(target.path_and_query, expected);
        }
    }

    #[test]
    fn what_is_no_url() {
        for url in [
            "",
            "a",
            "/x",
            "ws:",
            "ws://",
            "ftp://a",
            "ws://a#b",
            "ws://a b",
            "ws://a:0",
            "ws://a:70000",
            "ws://a:x/",
            "ws://:80",
        ] {
            assert!(
                matches!(Target::parse(url), Err(ConnectError::Url(_))),
                "{url}"
            );
        }
    }

    #[test]
    fn credentials_become_a_header() {
        let target = Target::parse("ws://user:p%40ss@a").unwrap();
        assert_eq!(target.authorization.unwrap(), "Basic dXNlcjpwQHNz");
        assert_eq!(target.authority, "a");
        assert_eq!(
            basic("Aladdin:open sesame"),
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
        );
    }
}
