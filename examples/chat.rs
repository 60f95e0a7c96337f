//! Chat rooms in a service of one's own: the engine keeps the rooms, the service says who may come in, watches its words, and announces.
//!
//! ```text
//! cargo run --release --example chat -- 127.0.0.1:8080
//! ```
//!
//! Rooms whose name begins with `staff-` are for connections that the connect hook has tagged as staff: here those whose user is
//! called `staff-…`; a service asks its own records. Messages of the clients are those of docs/guides/chat.md.

use serde_json::json;
use shardwire::config::{Chat, Config, Listen};
use shardwire::{Access, Action, Context, Engine, EngineHandle, HandlerError, Json, Message, Next};

const STAFF: &str = "staff";

fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1);
    let engine = start(address.as_deref().unwrap_or("127.0.0.1:8080"))?;
    println!("websocket on ws://{}/ws", engine.local_address());
    engine.wait()?;
    Ok(())
}

fn start(address: &str) -> anyhow::Result<EngineHandle> {
    let config = Config {
        listen: Listen {
            address: address.parse()?,
            ..Listen::default()
        },
        chat: Chat {
            enabled: Some(true),
            max_members: 200,
            ..Chat::default()
        },
        ..Config::default()
    };
    let engine = Engine::builder(config)
        .on_connect(note_staff)
        .authorize(may)
        .middleware(be_quiet)
        .route("announce", announce)
        .start()?;
    Ok(engine)
}

async fn note_staff(context: Context) -> Result<(), HandlerError> {
    if context
        .user()
        .is_some_and(|user| user.starts_with("staff-"))
    {
        context.tag(STAFF)?;
    }
    Ok(())
}

/// Who may come into which room. Asked in the middle of a shard's turn: it answers from what the connection carries.
fn may(access: &Access<'_>) -> bool {
    access.action != Action::Join
        || !access.channel.starts_with("room:staff-")
        || access.tags.iter().any(|tag| **tag == *STAFF)
}

/// What is said passes by here, and goes on to the room unless it shouts.
async fn be_quiet(context: Context, message: Message, next: Next) -> Result<(), HandlerError> {
    #[derive(serde::Deserialize)]
    struct Said<'m> {
        r#type: std::borrow::Cow<'m, str>,
        content: Option<serde_json::Value>,
    }
    let said: Said<'_> = message.parse()?;
    let shouts =
        |content: &serde_json::Value| content.as_str().is_some_and(|it| it.contains("!!!"));
    if said.r#type == "send-message" && said.content.as_ref().is_some_and(shouts) {
        return Err(HandlerError::refused("Please do not shout"));
    }
    next.run(context, message).await
}

/// `{"type":"announce","room":…,"text":…}` of staff.
#[derive(serde::Deserialize)]
struct Announce {
    room: String,
    text: String,
}

/// Members read it as a `broadcast` of the room's channel: nobody can take it for what a member has said.
async fn announce(context: Context, announce: Json<Announce>) -> Result<(), HandlerError> {
    if !context.tags().iter().any(|tag| tag == STAFF) {
        return Err(HandlerError::refused("Only staff announces"));
    }
    let room = format!("room:{}", announce.room);
    let notice = json!({"notice": announce.text});
    context
        .publish(&room, &notice)
        .map_err(HandlerError::failed)
}
