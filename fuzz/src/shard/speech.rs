//! What clients say: mostly what means something, sometimes anything.

use arbitrary::{Result, Unstructured};
use shardwire_protocol::websocket::deflate::Deflater;
use shardwire_protocol::websocket::frame::{self, Kind};

/// Names of channels, those with rules and the built-in ones among them.
pub(super) const CHANNELS: [&str; 6] = ["a", "b", "closed", "$shards", "room.u1", "$presence:a"];

/// Names of users, and tokens: whoever shows a name as token may be given it.
pub(super) const USERS: [&str; 3] = ["u1", "u2", "u3"];

/// JSON that is published or echoed.
pub(super) const VALUES: [&str; 5] = ["null", "7", "\"x\"", "{\"a\":[1,2]}", "[]"];

/// One or more frames, or what is none.
pub(super) fn say(u: &mut Unstructured<'_>, compresses: bool, out: &mut Vec<u8>) -> Result<()> {
    match u.int_in_range(0..=9)? {
        0 => frame::write_client(out, Kind::Ping, u.bytes(u.len().min(3))?, [0; 4]),
        1 => frame::write_client(out, Kind::Pong, b"", [0; 4]),
        2 => {
            let code = *u.choose(&[1000, 1001, 1005, 4001])?;
            frame::write_client(out, Kind::Close, &frame::close_payload(code, "bye"), [1; 4]);
        }
        3 => out.extend_from_slice(u.bytes(u.len().min(8))?),
        4 => {
            let size = u.int_in_range(0..=1200)?;
            frame::write_client(out, Kind::Binary, &vec![b'x'; size], [2; 4]);
        }
        _ => text(&message(u)?, u, compresses, out)?,
    }
    Ok(())
}

/// A text message: whole, in two fragments, or compressed.
fn text(text: &str, u: &mut Unstructured<'_>, compresses: bool, out: &mut Vec<u8>) -> Result<()> {
    match u.int_in_range(0..=3)? {
        0 if text.len() > 1 && text.is_ascii() => {
            let (first, last) = text.as_bytes().split_at(text.len() / 2);
            let start = out.len();
            frame::write_client(out, Kind::Text, first, [3; 4]);
            // Not the last one; then one that continues.
            out[start] &= 0x7f;
            let start = out.len();
            frame::write_client(out, Kind::Text, last, [4; 4]);
            out[start] &= 0xf0;
        }
        1 if compresses => match Deflater::new(1).deflate(text.as_bytes(), 9) {
            Some(deflated) => frame::write_client_deflated(out, Kind::Text, deflated, [5; 4]),
            None => frame::write_client(out, Kind::Text, text.as_bytes(), [5; 4]),
        },
        _ => frame::write_client(out, Kind::Text, text.as_bytes(), [6; 4]),
    }
    Ok(())
}

/// A message of the JSON protocol.
pub(super) fn message(u: &mut Unstructured<'_>) -> Result<String> {
    let channel = *u.choose(&CHANNELS)?;
    let value = *u.choose(&VALUES)?;
    let id = match u.int_in_range(0..=2)? {
        0 => "",
        1 => r#","id":7"#,
        _ => r#","id":"x""#,
    };
    Ok(match u.int_in_range(0..=14)? {
        0..=2 => format!(r#"{{"type":"subscribe","channel":"{channel}"{id}}}"#),
        3 => format!(r#"{{"type":"unsubscribe","channel":"{channel}"{id}}}"#),
        4..=5 => {
            let filler = "z".repeat(*u.choose(&[0, 10, 400, 800])?);
            let exclude = match u.arbitrary()? {
                true => r#","exclude":"self""#,
                false => "",
            };
            format!(
                r#"{{"type":"publish","channel":"{channel}","message":[{value},"{filler}"]{exclude}{id}}}"#
            )
        }
        6 => format!(r#"{{"type":"echo","data":{value}{id}}}"#),
        7 => {
            let kind = *u.choose(&["auth", "refresh"])?;
            let token = *u.choose(&USERS)?;
            format!(r#"{{"type":"{kind}","token":"{token}"{id}}}"#)
        }
        8 => format!(r#"{{"type":"work"{id}}}"#),
        9 => format!(r#"{{"type":"ping"{id}}}"#),
        10 => format!(r#"{{"type":"join-room","roomId":"{channel}"{id}}}"#),
        11 => {
            let kind = *u.choose(&["leave-room", "typing-start", "typing-stop", "send-message"])?;
            let content = *u.choose(&["\"x\"", "\"far too long\"", "7"])?;
            format!(r#"{{"type":"{kind}","content":{content}{id}}}"#)
        }
        12 => {
            let status = *u.choose(&[r#""busy""#, "null", "7"])?;
            format!(
                r#"{{"type":"set-presence","presence":{{"status":{status},"metadata":{{"k":{value}}}}}{id}}}"#
            )
        }
        13 => match u.arbitrary()? {
            true => format!(r#"{{"type":"get-presence","channel":"{channel}"{id}}}"#),
            false => format!(r#"{{"type":"get-presence","ids":["u1","u2","u3"]{id}}}"#),
        },
        _ => format!(r#"{{"type":"nobody knows this"{id}}}"#),
    })
}
