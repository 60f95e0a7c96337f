//! Notifications: a message of one user becomes a notification in another one's inbox, and whoever is away is reached by another way.
//!
//! ```sh
//! cargo run --example notifications
//! ```
//!
//! Connect as Ann to `/ws?user=ann` and say `{"type":"ship","to":"bob","order":4711}`. Bob is away: the program says that it would send a
//! mail. Connect as Bob to `/ws?user=bob`: the notification comes, then how many are unread. Say
//! `{"type":"mark-read","notificationIds":["…"]}` on one of Bob's connections, and all of them hear of it.

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::json;
use shardwire::config::{Config, Listen, Notifications};
use shardwire::{Context, Engine, EngineHandle, HandlerError, Json, Notification, Unreached};

/// What a client asks for.
#[derive(Deserialize)]
struct Ship {
    to: String,
    order: u64,
}

fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:8080");
    let config = Config {
        listen: Listen {
            address: address.parse().context("ADDRESS:PORT")?,
            ..Listen::default()
        },
        notifications: Notifications {
            enabled: Some(true),
            ..Notifications::default()
        },
        ..Config::default()
    };
    let engine = Engine::builder(config)
        .route("ship", ship)
        .on_unreached(async |_: EngineHandle, missed: Unreached| {
            // A service would send a mail or a push message here; awaiting holds nobody up.
            println!("mail to {}: {}", missed.user, missed.notification.title);
        })
        .start()?;
    println!("websocket on ws://{}/ws", engine.local_address());
    engine.wait()?;
    Ok(())
}

/// Tells the receiver, and the sender how many connections that went to.
async fn ship(context: Context, ship: Json<Ship>) -> Result<(), HandlerError> {
    let notification = Notification {
        body: Some(format!("Order {} has left the house.", ship.order)),
        kind: Some("order".into()),
        data: json!({ "order": ship.order }),
        ..Notification::new("Your parcel is on its way")
    };
    let sent = context
        .engine()
        .send_notification(&ship.to, &notification)
        .map_err(HandlerError::failed)?
        .await
        .map_err(HandlerError::failed)?;
    context
        .send(&json!({ "type": "shipped", "connections": sent.connections }))
        .map_err(HandlerError::failed)
}
