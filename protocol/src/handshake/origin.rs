//! Which pages' scripts may connect: an allow-list of origins (RFC 6455 section 10.2, RFC 6454).
//!
//! A browser names the origin of the page in every upgrade request, and no script can change it. Other clients send what they
//! like, or nothing: this protects users of browsers from foreign pages, not the server from clients.

use std::str::FromStr;

/// One entry of an allow-list: `*` for every origin, `null` for pages without one, or scheme, host and port, such as
/// `https://app.example.org`, `http://localhost:3000` or `https://*.example.org`. A `*` in a host stands for exactly one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginPattern(Pattern);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    Any,
    Null,
    Of(Origin<Box<str>>),
}

/// Not an entry of an allow-list; the text says what is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct OriginPatternError(&'static str);

/// Scheme, host and port of an origin. Scheme and host compare without case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Origin<T> {
    scheme: T,
    host: T,
    port: Option<u16>,
}

impl<'o> Origin<&'o str> {
    /// Reads `scheme://host[:port]`, and nothing else: no path, no user, no list.
    fn parse(text: &'o str) -> Option<Origin<&'o str>> {
        let (scheme, rest) = text.split_once("://")?;
        let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        if !scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            || !scheme.bytes().all(is_scheme)
        {
            return None;
        }
        // An IPv6 address has colons of its own, in brackets.
        let end = rest.find(']').map_or(0, |bracket| bracket + 1);
        let (host, port) = match rest[end..].rfind(':') {
            Some(colon) => {
                let (host, port) = rest.split_at(end + colon);
                (host, Some(parse_port(&port[1..])?))
            }
            None => (rest, None),
        };
        is_host(host).then_some(Origin { scheme, host, port })
    }

    /// The port, also where its scheme's own is left out.
    fn full_port(self) -> Option<u16> {
        self.port.or_else(|| own_port(self.scheme))
    }
}

fn own_port(scheme: &str) -> Option<u16> {
    let is_one_of = |names: [&str; 2]| names.iter().any(|name| scheme.eq_ignore_ascii_case(name));
    if is_one_of(["http", "ws"]) {
        Some(80)
    } else if is_one_of(["https", "wss"]) {
        Some(443)
    } else {
        None
    }
}

fn parse_port(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// Labels of a name or an address, or an IPv6 address in brackets. Other names than ASCII are in their encoded form (`xn--…`).
fn is_host(host: &str) -> bool {
    if let Some(address) = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        let is_part = |byte: u8| byte.is_ascii_hexdigit() || byte == b':' || byte == b'.';
        return address.contains(':') && address.bytes().all(is_part);
    }
    let is_label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_*".contains(&byte))
    };
    host.split('.').all(is_label)
}

impl FromStr for OriginPattern {
    type Err = OriginPatternError;

    fn from_str(text: &str) -> Result<OriginPattern, OriginPatternError> {
        match text {
            "*" => return Ok(OriginPattern(Pattern::Any)),
            "null" => return Ok(OriginPattern(Pattern::Null)),
            _ => {}
        }
        let origin = Origin::parse(text).ok_or(OriginPatternError(
            "an origin is a scheme, a host and maybe a port, such as \"https://app.example.org\" or \"http://localhost:3000\", without a path",
        ))?;
        let mut labels = origin.host.split('.');
        if labels.any(|label| label.contains('*') && label != "*") {
            return Err(OriginPatternError(
                "a \"*\" stands for a whole label, as in \"https://*.example.org\"",
            ));
        }
        if origin.host.ends_with('*') {
            return Err(OriginPatternError(
                "the last label of a host cannot be \"*\"; write \"*\" alone for every origin",
            ));
        }
        Ok(OriginPattern(Pattern::Of(Origin {
            scheme: origin.scheme.into(),
            host: origin.host.into(),
            port: origin.full_port(),
        })))
    }
}

impl OriginPattern {
    /// Whether every origin fits.
    pub fn is_any(&self) -> bool {
        self.0 == Pattern::Any
    }

    /// Whether this value of the header `Origin` fits.
    pub fn fits(&self, origin: &str) -> bool {
        match &self.0 {
            Pattern::Any => true,
            Pattern::Null => origin == "null",
            Pattern::Of(allowed) => Origin::parse(origin).is_some_and(|origin| {
                origin.scheme.eq_ignore_ascii_case(&allowed.scheme)
                    && origin.full_port() == allowed.port
                    && host_fits(origin.host, &allowed.host)
            }),
        }
    }
}

fn host_fits(host: &str, pattern: &str) -> bool {
    let (mut labels, mut allowed) = (host.split('.'), pattern.split('.'));
    loop {
        match (labels.next(), allowed.next()) {
            (None, None) => return true,
            // What a page is called cannot contain the sign itself.
            (Some(label), Some("*")) if !label.contains('*') => {}
            (Some(label), Some(allowed))
                if allowed != "*" && label.eq_ignore_ascii_case(allowed) => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn fits(pattern: &str, origin: &str) -> bool {
        pattern.parse::<OriginPattern>().unwrap().fits(origin)
    }

    /// Cross-site hijacking: near misses of an allowed origin.
    #[test]
    fn attack_foreign_origins() {
        let ours = "https://app.example.org";
        for origin in ["https://app.example.org", "https://APP.example.org:443"] {
            assert!(fits(ours, origin), "{origin}");
        }
        for origin in [
            "http://app.example.org",
            "https://app.example.org:8443",
            "https://app.example.org:80",
            "https://example.org",
            "https://evil.app.example.org",
            "https://evilapp.example.org",
            "https://app.example.org.evil.test",
            "https://app.example.org@evil.test",
            "https://evil.test/https://app.example.org",
            "https://app.example.org/",
            "https://app.example.org ",
            " https://app.example.org",
            "https://app.example.org, https://evil.test",
            "https://app.example.org https://evil.test",
            "https://*.example.org",
            "https://app.example.org:",
            "https://app.example.org:+443",
            "https://app.example.org:0443x",
            "https://app..example.org",
            "https://app.example.org.",
            "app.example.org",
            "://app.example.org",
            "null",
            "*",
            "",
        ] {
            assert!(!fits(ours, origin), "{origin}");
        }
    }

    #[test]
    fn a_wildcard_is_one_whole_label() {
        let ours = "https://*.example.org";
        assert!(fits(ours, "https://a.example.org") && fits(ours, "https://b-1.example.org"));
        for origin in [
            "https://example.org",
            "https://a.b.example.org",
            "https://.example.org",
            "https://*.example.org",
            "https://aexample.org",
            "https://a.example.org.evil.test",
        ] {
            assert!(!fits(ours, origin), "{origin}");
        }
        assert!(fits("https://a.*.example.org", "https://a.b.example.org"));
    }

    #[test]
    fn ports_schemes_and_addresses() {
        assert!(fits("http://localhost:3000", "http://localhost:3000"));
        assert!(!fits("http://localhost:3000", "http://localhost"));
        assert!(fits("http://localhost", "http://localhost:80"));
        assert!(fits("http://[::1]:8080", "http://[::1]:8080"));
        assert!(!fits("http://[::1]:8080", "http://[::1]"));
        assert!(fits("http://[::1]", "http://[::1]:80"));
        assert!(fits(
            "chrome-extension://abcdef",
            "chrome-extension://abcdef"
        ));
        assert!(fits("null", "null") && !fits("null", "https://a"));
        assert!(fits("*", "anything at all") && fits("*", "null"));
    }

    #[test]
    fn what_is_no_entry() {
        for text in [
            "",
            "example.org",
            "https://",
            "https://example.org/",
            "https://example.org/path",
            "https://user@example.org",
            "https://example.org:",
            "https://example.org:65536",
            "https://exa mple.org",
            "https://*",
            "https://example.*",
            "https://a*.example.org",
            "https://*a.example.org",
            "https://[::1",
            "https://[nonsense]",
            "https://ü.example.org",
            "*.example.org",
            "NULL",
        ] {
            assert!(text.parse::<OriginPattern>().is_err(), "{text}");
        }
    }
}
