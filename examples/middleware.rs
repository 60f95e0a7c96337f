//! Middleware, routes and hooks: what an application puts around its clients' messages.
//!
//! ```sh
//! cargo run --example middleware
//! websocat 'ws://127.0.0.1:8080/ws?user=ann'      # then type {"type":"chat","message":"hello"}
//! ```
//!
//! | what | here |
//! | --- | --- |
//! | middleware around every message, built-in ones included | `timing`, `checking`, `slow_mode` |
//! | a typed route | `chat` |
//! | data that handlers keep with a connection | `SlowMode` |
//! | tags, and a broadcast to them | `on_connect`, `announce` |
//! | who may do what, behind the rules of the configuration | `authorize` |
//! | what happened to handlers and connections | `on_error`, `on_close` |

use std::time::{Duration, Instant};

use serde_json::json;
use shardwire::config::{Config, Listen};
use shardwire::{
    Access, Action, Audience, CloseCause, Context, Engine, EngineHandle, Failure, HandlerError,
    Json, Message, Next,
};

/// The channel everybody may hear and only moderators speak in.
const NEWS: &str = "news";

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
        ..Config::default()
    };
    let engine = Engine::builder(config)
        // The first one is the outermost.
        .middleware(timing)
        .middleware(checking)
        .middleware(slow_mode)
        .route("chat", chat)
        .route("announce", announce)
        .on_connect(async |context: Context| {
            // What has to be looked up is looked up here, once: this may await a database.
            if context.user() == Some("mia") {
                context.tag("moderator")?;
            }
            context.subscribe("lobby");
            Ok(())
        })
        .authorize(|access: &Access<'_>| match access.action {
            Action::Publish if access.channel == NEWS => is_moderator(access.tags),
            _ => true,
        })
        .on_error(async |context: Context, failure: Failure| {
            eprintln!("{}: {failure}", context.connection());
        })
        .on_close(async |context: Context, cause: CloseCause| {
            let name = context.user().unwrap_or("somebody").to_owned();
            let left = json!({"left": name, "cause": format!("{cause:?}")});
            if let Err(error) = context.publish("lobby", &left) {
                eprintln!("{name} left unheard: {error}");
            }
        })
        .start()?;
    Ok(engine)
}

fn is_moderator<S: AsRef<str>>(tags: &[S]) -> bool {
    tags.iter().any(|tag| tag.as_ref() == "moderator")
}

/// How long the rest took. A future is polled between two turns of its shard: nobody waits for it but its own client.
async fn timing(context: Context, message: Message, next: Next) -> Result<(), HandlerError> {
    let begin = Instant::now();
    let outcome = next.run(context.clone(), message).await;
    if begin.elapsed() > Duration::from_secs(1) {
        eprintln!(
            "{}: a message took {:?}",
            context.connection(),
            begin.elapsed()
        );
    }
    outcome
}

/// Checks messages before their handlers see them, and refuses in its own words (contract K10).
async fn checking(context: Context, message: Message, next: Next) -> Result<(), HandlerError> {
    #[derive(serde::Deserialize)]
    struct Checked<'m> {
        r#type: std::borrow::Cow<'m, str>,
        message: Option<serde_json::Value>,
    }
    let checked: Checked<'_> = message.parse()?;
    let is_text = |value: &serde_json::Value| value.as_str().is_some_and(|text| text.len() <= 500);
    if checked.r#type == "chat" && !checked.message.as_ref().is_some_and(is_text) {
        return Err(HandlerError::refused("Invalid chat message"));
    }
    next.run(context, message).await
}

/// When this connection last chatted.
#[derive(Default)]
struct SlowMode(Option<Instant>);

/// A rate of one's own, finer than those of the configuration: one chat message a second each, moderators apart.
async fn slow_mode(context: Context, message: Message, next: Next) -> Result<(), HandlerError> {
    if message.text().contains("\"chat\"") && !is_moderator(&context.tags()) {
        let now = Instant::now();
        let mut last = context.data::<SlowMode>();
        if last
            .0
            .is_some_and(|last| now - last < Duration::from_secs(1))
        {
            return Err(HandlerError::refused("Slow mode: one message a second"));
        }
        last.0 = Some(now);
        // Not held while the next ones await: they may want it.
        drop(last);
    }
    next.run(context, message).await
}

#[derive(serde::Deserialize)]
struct Chat {
    message: String,
}

async fn chat(context: Context, chat: Json<Chat>) -> Result<(), HandlerError> {
    let from = context.user().unwrap_or("somebody");
    let line = json!({"from": from, "message": chat.message});
    context
        .publish("lobby", &line)
        .map_err(HandlerError::failed)
}

/// Reaches every moderator, wherever connected (contract M24).
async fn announce(context: Context, chat: Json<Chat>) -> Result<(), HandlerError> {
    let notice = json!({"type": "notice", "message": chat.message});
    let moderators = Audience::Tag("moderator".into());
    let engine = context.engine();
    engine
        .broadcast(&notice, &moderators)
        .map_err(HandlerError::failed)
}
