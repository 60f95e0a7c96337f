//! Any text as a message of a client, and what is answered to it.

use serde::de::IgnoredAny;
use serde_json::Value;

use shardwire_protocol::codes::ErrorCode;
use shardwire_protocol::envelope::client::Reply;
use shardwire_protocol::envelope::{self, Inbound, MAX_ID_BYTES, outbound};

/// What is taken is what serde_json reads; what is not JSON is not taken; and whatever a message held, the answers that carry parts
/// of it are JSON with just these parts.
pub fn envelope(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    // A server's message to a client of ours; any outcome will do.
    let _ = Reply::read(text).map(|reply| reply.id());
    let json = serde_json::from_str::<IgnoredAny>(text).is_ok();
    match envelope::parse(text) {
        Ok(inbound) => {
            assert!(json, "taken, but not JSON");
            // Numbers that no f64 holds pass through, but make no Value.
            if let Ok(value) = serde_json::from_str::<Value>(text) {
                same_fields(&inbound, &value);
            }
            answers(&inbound);
        }
        Err(ErrorCode::MissingType | ErrorCode::InvalidType) => assert!(json, "no JSON at all"),
        Err(_) => {}
    }
}

fn same_fields(inbound: &Inbound<'_>, value: &Value) {
    assert_eq!(value["type"].as_str(), Some(&*inbound.kind));
    for (name, text) in [
        ("channel", &inbound.channel),
        ("exclude", &inbound.exclude),
        ("token", &inbound.token),
    ] {
        assert_eq!(value[name].as_str(), text.as_deref(), "{name}");
    }
    for (name, raw) in [
        ("message", inbound.message),
        ("data", inbound.data),
        ("id", inbound.id),
    ] {
        let raw = raw.and_then(|raw| serde_json::from_str(raw.get()).ok());
        assert_eq!(value.get(name), raw.as_ref(), "{name}");
    }
}

fn answers(inbound: &Inbound<'_>) {
    let id = inbound.id;
    if let Some(id) = id {
        assert!(id.get().len() <= MAX_ID_BYTES);
    }
    let channel = inbound.channel.as_deref().unwrap_or(&inbound.kind);
    let message = inbound.message.or(inbound.data).map(|raw| raw.get());
    let mut out = Vec::new();
    let mut check = |write: &mut dyn FnMut(&mut Vec<u8>),
                     kind: &str,
                     channel: Option<&str>,
                     message: Option<&str>| {
        out.clear();
        write(&mut out);
        let text = std::str::from_utf8(&out).expect("what is written is text");
        let reply = Reply::read(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(&*reply.kind, kind);
        assert_eq!(reply.channel.as_deref(), channel, "{text}");
        assert_eq!(
            reply.message.or(reply.data).map(|raw| raw.get()),
            message,
            "{text}"
        );
    };
    check(&mut |out| outbound::pong(out, 1, id), "pong", None, None);
    check(
        &mut |out| outbound::error(out, ErrorCode::Overloaded, id),
        "error",
        None,
        None,
    );
    check(
        &mut |out| outbound::subscribed(out, channel, None, None, id),
        "subscribed",
        Some(channel),
        None,
    );
    check(
        &mut |out| outbound::unsubscribed(out, channel, id),
        "unsubscribed",
        Some(channel),
        None,
    );
    if let Some(message) = message {
        check(
            &mut |out| outbound::echo(out, message, 1, id),
            "echo",
            None,
            Some(message),
        );
        check(
            &mut |out| outbound::broadcast(out, channel, message, 1, None),
            "broadcast",
            Some(channel),
            Some(message),
        );
    }
}
