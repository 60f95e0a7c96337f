//! Opening: a byte stream, then the HTTP upgrade over it.

use crate::{
    error::ConnectError,
    net::{ByteStream, Network},
    options::ConnectOptions,
    target::Target,
    websocket::WebSocket,
};
use shardwire_protocol::{
    handshake::{
        client::{ClientHandshake, ClientHandshakeError},
        response::ResponseHead,
    },
    websocket::deflate::Offer,
};
use std::{
    io,
    time::{Duration, SystemTime},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time,
};
use tracing::Instrument;

/// Longest `Retry-After` that is obeyed.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// Opens a WebSocket. Cancel-safe: dropping the future closes what was opened so far.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use shardwire_client::{ConnectOptions, Message, connect};
///
/// let mut socket = connect("ws://127.0.0.1:8080/ws", &ConnectOptions::default()).await?;
/// socket.send(Message::text(r#"{"type":"ping"}"#)).await?;
/// let answer = socket.receive().await?;
/// socket.close(1000, "done").await?;
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// See [`ConnectError`]; [`ConnectError::advice`] tells whether to try again.
pub async fn connect(url: &str, options: &ConnectOptions) -> Result<WebSocket, ConnectError> {
    let target = Target::parse(url)?;
    connect_to(&target, options).await
}

pub(crate) async fn connect_to(
    target: &Target,
    options: &ConnectOptions,
) -> Result<WebSocket, ConnectError> {
    let span = tracing::debug_span!("connect", host = %target.authority, secure = target.secure);
    let opening = async {
        let token = match &options.token {
            Some(source) => Some(source.to_connect().await.map_err(ConnectError::Token)?),
            None => None,
        };
        let stream = open_stream(target, options).await?;
        upgrade(stream, target, options, token).await
    };
    let result = time::timeout(options.connect_timeout, opening.instrument(span))
        .await
        .unwrap_or(Err(ConnectError::TimedOut(options.connect_timeout)));
    if let Some(source) = &options.token {
        match &result {
            Ok(_) => source.set_refused(false),
            Err(ConnectError::Refused { status: 401, .. }) => source.set_refused(true),
            Err(_) => {}
        }
    }
    crate::telemetry::connected(&result);
    result
}

pub(crate) async fn open_stream(
    target: &Target,
    options: &ConnectOptions,
) -> Result<Box<dyn ByteStream>, ConnectError> {
    match &options.connector {
        Some(connector) => connector.connect(target).await,
        None => {
            let network = Network {
                tls: &options.tls,
                proxy: &options.proxy,
            };
            network.open(target).await
        }
    }
}

async fn upgrade(
    mut stream: Box<dyn ByteStream>,
    target: &Target,
    options: &ConnectOptions,
    token: Option<String>,
) -> Result<WebSocket, ConnectError> {
    let handshake = ClientHandshake::new(rand::random());
    let protocols = options.protocols.join(", ");
    let mut headers: Vec<(&str, &str)> = Vec::with_capacity(options.headers.len() + 2);
    for (name, value) in &options.headers {
        headers.push((checked_name(name)?, value));
    }
    let bearer = token.map(|token| format!("Bearer {token}"));
    if let Some(authorization) = bearer.as_ref().or(target.authorization.as_ref()) {
        headers.push(("Authorization", authorization));
    }
    if !protocols.is_empty() {
        headers.push(("Sec-WebSocket-Protocol", &protocols));
    }
    let offer = options.compression.map(|compression| Offer {
        takeover: compression.takeover,
    });
    let mut extensions = Vec::new();
    if let Some(offer) = offer {
        offer.write(&mut extensions);
    }
    let extensions = String::from_utf8(extensions).expect("an offer is ASCII");
    if !extensions.is_empty() {
        headers.push(("Sec-WebSocket-Extensions", &extensions));
    }
    let mut request = Vec::with_capacity(512);
    handshake.write_request(
        &mut request,
        &target.authority,
        &target.path_and_query,
        &headers,
    );
    stream.write_all(&request).await?;
    stream.flush().await?;

    let mut received = Vec::with_capacity(1024);
    let head = loop {
        if stream.read_buf(&mut received).await? == 0 {
            // A server that restarts, or a balancer without one behind it: it may answer the next time.
            let cut = io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "it ended before its answer did",
            );
            return Err(cut.into());
        }
        if let Some(head) = ResponseHead::read(&received).map_err(ConnectError::Handshake)? {
            break head;
        }
    };
    let accepted = match handshake.read_answer(&received[..head.len], offer) {
        Ok(Some(accepted)) => accepted,
        // Whole, since ResponseHead found its end.
        Ok(None) => unreachable!("the head is whole"),
        Err(ClientHandshakeError::Status(status)) => {
            return Err(ConnectError::Refused {
                status,
                retry_after: retry_after(&head, SystemTime::now()),
            });
        }
        Err(error) => return Err(ConnectError::Handshake(error)),
    };
    let protocol = head.header("sec-websocket-protocol").map(str::to_owned);
    if let Some(chosen) = protocol
        .as_ref()
        .filter(|chosen| !options.protocols.contains(chosen))
    {
        return Err(ConnectError::Subprotocol(chosen.clone()));
    }
    Ok(WebSocket::new(
        stream,
        &received[head.len..],
        protocol,
        accepted.deflate,
        options,
    ))
}

/// A header name that cannot break the request or the upgrade.
fn checked_name(name: &str) -> Result<&str, ConnectError> {
    const OURS: [&str; 4] = ["host", "upgrade", "connection", "content-length"];
    let lower = name.to_ascii_lowercase();
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(ConnectError::Options(format!("{name:?} is no header name")));
    }
    if OURS.contains(&lower.as_str()) || lower.starts_with("sec-websocket-") {
        return Err(ConnectError::Options(format!(
            "the header {name:?} is the upgrade's own; for subprotocols there is an option"
        )));
    }
    Ok(name)
}

/// What `Retry-After` asks for (RFC 9110, 10.2.3): seconds, or a date. A date is one of the server's clock: it counts from the `Date` of the same
/// answer, so that a clock of ours that is wrong does no harm, and from `now` where there is none. One that is past: at once.
fn retry_after(head: &ResponseHead, now: SystemTime) -> Option<Duration> {
    let value = head.header("retry-after")?.trim();
    let wait = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = httpdate::parse_http_date(value).ok()?;
            let date = head.header("date");
            let said = date.and_then(|date| httpdate::parse_http_date(date.trim()).ok());
            at.duration_since(said.unwrap_or(now)).unwrap_or_default()
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn asked(fields: &str) -> Option<Duration> {
        let answer = format!("HTTP/1.1 503 Busy\r\n{fields}\r\n");
        let head = ResponseHead::read(answer.as_bytes()).unwrap().unwrap();
        // 1994-11-06 08:49:37, the date of RFC 9110's examples.
        retry_after(
            &head,
            SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777),
        )
    }

    #[test]
    fn retry_after_in_seconds() {
        assert_eq!(asked(""), None);
        assert_eq!(asked("Retry-After:  7 \r\n"), Some(Duration::from_secs(7)));
        assert_eq!(asked("Retry-After: 999999\r\n"), Some(RETRY_AFTER_MAX));
        assert_eq!(asked("Retry-After: -1\r\n"), None);
        assert_eq!(asked("Retry-After: soon\r\n"), None);
    }

    #[test]
    fn retry_after_as_a_date() {
        let until = |date: &str| asked(&format!("Retry-After: {date}\r\n"));
        // In each of the three forms of RFC 9110, 5.6.7.
        for date in [
            "Sun, 06 Nov 1994 08:50:37 GMT",
            "Sunday, 06-Nov-94 08:50:37 GMT",
            "Sun Nov  6 08:50:37 1994",
        ] {
            assert_eq!(until(date), Some(Duration::from_secs(60)), "{date}");
        }
        assert_eq!(
            until("Sun, 06 Nov 1994 08:49:36 GMT"),
            Some(Duration::ZERO),
            "past"
        );
        assert_eq!(
            until("Sat, 06 Nov 2094 08:49:37 GMT"),
            Some(RETRY_AFTER_MAX)
        );
        assert_eq!(until("Sun, 99 Nov 1994 08:49:36 GMT"), None);
        // The server's own clock counts, not ours.
        let of_the_server =
            "Date: Tue, 15 Nov 1994 08:12:31 GMT\r\nRetry-After: Tue, 15 Nov 1994 08:12:51 GMT\r\n";
        assert_eq!(asked(of_the_server), Some(Duration::from_secs(20)));
        let nonsense = "Date: today\r\nRetry-After: Sun, 06 Nov 1994 08:50:37 GMT\r\n";
        assert_eq!(asked(nonsense), Some(Duration::from_secs(60)));
    }

    #[test]
    fn header_names_that_would_break_the_upgrade_are_refused() {
        assert!(checked_name("X-API-Key").is_ok());
        for name in [
            "",
            "a b",
            "a:b",
            "a\r\nb",
            "Host",
            "Sec-WebSocket-Key",
            "UPGRADE",
        ] {
            assert!(checked_name(name).is_err(), "{name:?}");
        }
    }
}
