//! Where to listen, as text: `"127.0.0.1:8080"`, `"[::]:8080"`.

/// As [`listen_address`], for one that may be left out.
pub(in crate::config) mod optional_address {
    use std::net::SocketAddr;

    use serde::de::Deserializer;
    use serde::ser::Serializer;

    use super::listen_address;

    pub(in crate::config) fn serialize<S: Serializer>(
        address: &Option<SocketAddr>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match address {
            Some(address) => listen_address::serialize(address, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<SocketAddr>, D::Error> {
        listen_address::deserialize(deserializer).map(Some)
    }
}

/// Reads and writes a listen address (`#[serde(with = "listen_address")]`), and answers the usual slips with what to write.
///
/// Names are not looked up: an engine that listens somewhere else because a resolver answered differently is a hole.
pub(in crate::config) mod listen_address {
    use std::net::{IpAddr, SocketAddr};

    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    pub(in crate::config) fn serialize<S: Serializer>(
        address: &SocketAddr,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(address)
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<SocketAddr, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|_| D::Error::custom(advice(&text)))
    }

    /// What to write instead of `text`.
    fn advice(text: &str) -> String {
        const EXAMPLE_PORT: &str = "8080";
        if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
            return match ip {
                IpAddr::V4(ip) => format!("the port is missing: write \"{ip}:{EXAMPLE_PORT}\""),
                IpAddr::V6(ip) => format!("the port is missing: write \"[{ip}]:{EXAMPLE_PORT}\""),
            };
        }
        let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
        if port.parse::<u16>().is_err() {
            return "an IP address and a port from 0 to 65535 are needed".to_owned();
        }
        match host {
            "localhost" => format!("names are not looked up: write \"127.0.0.1:{port}\""),
            "" | "*" => format!(
                "the IP address is missing: write \"0.0.0.0:{port}\" for all, \"127.0.0.1:{port}\" for this machine only"
            ),
            _ => "names are not looked up: write an IP address and a port".to_owned(),
        }
    }

    #[cfg(test)]
    mod tests {
        use super::advice;

        #[test]
        fn every_usual_slip_gets_its_own_advice() {
            for (written, told) in [
                ("localhost:8080", "write \"127.0.0.1:8080\""),
                (":8080", "\"0.0.0.0:8080\""),
                ("8080", "\"0.0.0.0:8080\""),
                ("*:80", "\"0.0.0.0:80\""),
                ("127.0.0.1", "the port is missing: write \"127.0.0.1:8080\""),
                ("::1", "the port is missing: write \"[::1]:8080\""),
                ("[::1]", "the port is missing"),
                ("127.0.0.1:99999", "port from 0 to 65535"),
                ("example.org:80", "names are not looked up"),
                ("", "are needed"),
            ] {
                let advice = advice(written);
                assert!(advice.contains(told), "{written}: {advice}");
            }
        }
    }
}
