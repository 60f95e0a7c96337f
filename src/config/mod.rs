//! The configuration: what an operator writes, checked once, in one place, into what the rooms read.
//!
//! - **Lives here**: [`Config`] (the keys, as written), [`Settings`] (checked, native types), the one function between them
//!   ([`Config::check`]), and the layers a configuration is read from ([`Layers`]).
//! - **Does not**: reading the machine. The number of cores and the open-file limit come in as an [`Environment`]; whether a port is
//!   free or io_uring is allowed is the runtime's preflight. The one exception are the files that keys name (`files.rs`).
//! - **Invariants**: `Settings` exist only for a configuration without fault; *all* faults of all layers are reported at once, each
//!   with its key, its place, what was found and what is allowed; no default stands anywhere else; rooms never see `Config`.
//! - **Called by** `main.rs` (layers) and the engine's builder (`check_with_files`); calls `listen/certificate` and
//!   `auth` to try the files.
//! - **Tests**: beside each file, the layers in `load/tests.rs`, the page `docs/reference/config.md` in `reference.rs`; through the
//!   binary in `tests/config.rs`.
//!
//! Who adds a key writes, in this order: the field with its doc comment and its default in `sections/` (`x-live` if a running engine
//! takes a new value over, `x-secret` if nobody may see it), its range in `bounds`, what it
//! becomes in `check` of the section, and runs the tests with `UPDATE_REFERENCE=1`.

mod bounds;
mod check;
mod environment;
mod fault;
mod files;
mod keys;
mod layer;
mod live;
mod load;
mod print;
#[cfg(test)]
mod reference;
mod sections;
mod text;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shardwire_protocol::handshake::origin::OriginPattern;

pub use environment::Environment;
pub use fault::{Fault, Faults, Origin};
pub(crate) use files::read_pair;
pub use load::{Layers, Loaded};
pub use sections::admin::{Admin, AdminSettings};
pub use sections::authentication::{
    ApiKey, ApiKeySettings, Authentication, AuthenticationMethod, AuthenticationSettings,
    AuthenticationType, JwtAlgorithm, JwtKey, JwtKeySettings, JwtSettings, KeyMaterial,
};
pub use sections::channels::{Channels, ChannelsRule, Persistence, Slow, Topics};
pub use sections::chat::Chat;
pub use sections::collaboration::Collaboration;
pub use sections::compression::{Compression, CompressionSettings};
pub use sections::connections::{ConnectionSettings, Connections};
pub use sections::echo::{Echo, EchoSettings};
pub use sections::handlers::{HandlerSettings, Handlers};
pub use sections::listen::{Listen, ListenSettings, MissingOrigin};
pub use sections::log::{Log, LogFormat, LogLevel, LogSettings};
pub use sections::notifications::Notifications;
pub use sections::page::{Page, PageSettings};
pub use sections::permissions::{PermissionDefault, PermissionRule, Permissions};
pub use sections::presence::Presence;
pub use sections::proxy::{ForwardedHeader, Proxy, ProxyProtocol, ProxySettings};
pub use sections::rates::{RateSettings, Rates, RatesSettings};
pub use sections::shards::{DirectDescriptors, DriverChoice, PlacementRule, ShardSettings, Shards};
pub use sections::shutdown::{Shutdown, ShutdownSettings};
pub use sections::storage::{Storage, StorageSettings};
pub use sections::tls::{Tls, TlsSettings};
pub use text::{Amount, ByteSize, Bytes, Count, Limit, Rate, Secret, TextDuration, Texts};

use check::Checker;

/// What an operator wrote, or an embedding program says in Rust. Every key has a default, so `Config::default()` runs.
///
/// ```
/// use shardwire::config::{Config, Environment, Listen, PlacementRule, Shards};
///
/// let config = Config {
///     listen: Listen { address: "127.0.0.1:0".parse()?, ..Listen::default() },
///     shards: Shards { count: Some(2), placement: PlacementRule::Accept, ..Shards::default() },
///     ..Config::default()
/// };
/// let settings = config.check(&Environment { cores: 2, open_file_limit: 20_000 })?;
/// assert_eq!(settings.shards.count, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The port for operators.
    pub admin: Admin,
    /// Where clients connect.
    pub listen: Listen,
    /// How many shards there are, and which of them a connection lives on.
    pub shards: Shards,
    /// Compression of messages.
    pub compression: Compression,
    /// Who may connect, and how they show who they are.
    pub authentication: Authentication,
    /// What one connection may cost, how many there may be, and when one is given up.
    pub connections: Connections,
    /// The endpoint `/echo`.
    pub echo: Echo,
    /// The page at `/`.
    pub page: Page,
    /// The application's own message handlers.
    pub handlers: Handlers,
    /// Who may do what in which channel.
    pub permissions: Permissions,
    /// What is kept of channels, and what is done about slow subscribers.
    pub channels: Channels,
    /// Channels with history that clients name by `topic`.
    pub topics: Topics,
    /// Documents that several people edit at once.
    pub collaboration: Collaboration,
    /// Chat rooms.
    pub chat: Chat,
    /// Who is there, and how that is told.
    pub presence: Presence,
    /// An inbox for every user.
    pub notifications: Notifications,
    /// Where is kept what outlives the process.
    pub storage: Storage,
    /// How fast one may send, and how fast connections may come.
    pub rates: Rates,
    /// How long leaving may take.
    pub shutdown: Shutdown,
    /// What the engine tells its operator.
    pub log: Log,
}

/// A configuration without fault, in the types the rooms read. Immutable, shared by all shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The port for operators.
    pub admin: AdminSettings,
    /// Where clients connect.
    pub listen: ListenSettings,
    /// How many shards, and the homes of connections.
    pub shards: ShardSettings,
    /// Compression of messages.
    pub compression: CompressionSettings,
    /// Who may connect.
    pub authentication: AuthenticationSettings,
    /// Limits and deadlines of connections.
    pub connections: ConnectionSettings,
    /// The endpoint `/echo`.
    pub echo: EchoSettings,
    /// The page at `/`.
    pub page: PageSettings,
    /// The application's own message handlers.
    pub handlers: HandlerSettings,
    /// Who may do what in which channel.
    pub permissions: shardwire_shards::permissions::Permissions,
    /// What is kept of channels, topics among them.
    pub channels: shardwire_shards::history::ChannelSettings,
    /// Documents that several people edit at once, if there are any.
    pub collaboration: Option<shardwire_shards::collaboration::CollaborationSettings>,
    /// Chat rooms, if there are any.
    pub chat: Option<shardwire_shards::ChatSettings>,
    /// Who is there, and how that is told.
    pub presence: shardwire_shards::presence::PresenceSettings,
    /// Inboxes, if users have any.
    pub notifications: Option<shardwire_shards::notifications::NotificationSettings>,
    /// Where is kept what outlives the process, if anything is.
    pub storage: Option<StorageSettings>,
    /// How fast one may send.
    pub rates: RatesSettings,
    /// How long leaving may take.
    pub shutdown: ShutdownSettings,
    /// What is told, and how.
    pub log: LogSettings,
    /// Files the engine needs to be able to hold open for all this, unless connections are held by direct descriptors:
    /// `max_connections` and what it keeps back for itself. The preflight compares it with what the process may have.
    pub open_files_needed: u64,
    /// What the operator should read in the start-up log although nothing is wrong: defaults that follow from the machine or from
    /// another key, and choices with a consequence. One sentence each, without a full stop.
    pub notes: Vec<String>,
}

impl Config {
    /// Reads a configuration from TOML text alone, with all faults of its form: syntax, unknown keys, wrong types. What the values mean
    /// is for [`Config::check`], which the engine's builder calls.
    pub fn from_toml(text: &str) -> Result<Self, Faults> {
        Layers::new().toml("configuration", text).config()
    }

    /// [`check`](Self::check), and in the same round tries the files that the configuration names: certificates, and keys of
    /// authentication.
    pub fn check_with_files(&self, environment: &Environment) -> Result<Settings, Faults> {
        match (self.check(environment), files::faults(self)) {
            (checked, None) => checked,
            (Ok(_), Some(faults)) => Err(faults),
            (Err(faults), Some(more)) => Err(faults.and(more)),
        }
    }

    /// Turns what was written into what the rooms read, or tells everything that is wrong with it. Pure: what it needs to know of the
    /// machine is in `environment`, and no file is opened.
    pub fn check(&self, environment: &Environment) -> Result<Settings, Faults> {
        let mut checker = Checker::default();
        let listen = self.listen.check(&mut checker);
        let admin = self.admin.check(self.listen.address, &mut checker);
        let on_loopback = listen.on_loopback();
        let shards = self.shards.check(environment, &mut checker);
        let compression = self.compression.check(&mut checker);
        let connections = self
            .connections
            .check(&shards, on_loopback, environment, &mut checker);
        let authentication = self.authentication.check(&mut checker);
        if authentication.cookie.is_some() && listen.origins.iter().any(OriginPattern::is_any) {
            checker.note(
                "authentication.cookie is set and listen.origins lets every page in: a foreign page can connect in the name of whoever looks at it; list your own origins"
                    .to_owned(),
            );
        }
        let verifies = authentication.method != AuthenticationMethod::None
            && (authentication.method != AuthenticationMethod::Unset);
        let permissions = self.permissions.check(verifies, &mut checker);
        let channels = self.channels.check(&self.topics, &mut checker);
        let collaboration = self
            .collaboration
            .check(on_loopback, &connections, &mut checker);
        let chat = self.chat.check(on_loopback, &mut checker);
        let presence = self.presence.check(&mut checker);
        let notifications = self.notifications.check(on_loopback, &mut checker);
        let durable = channels.any_durable()
            || notifications.is_some_and(|it| it.durable)
            || collaboration.is_some_and(|it| it.document.stored);
        let storage = self.storage.check(durable, &mut checker);
        let rates = self
            .rates
            .check(self.connections.max_message_size, &mut checker);
        let echo = self.echo.check(on_loopback);
        let page = self.page.check(on_loopback);
        let handlers = self.handlers.check(&mut checker);
        let shutdown = self
            .shutdown
            .check(self.connections.close_timeout, &mut checker);
        let log = self.log.check();
        let open_files = connections
            .max_connections
            .saturating_add(bounds::open_files_kept_back(shards.count));
        Ok(Settings {
            admin,
            listen,
            shards,
            compression,
            authentication,
            connections,
            echo,
            page,
            handlers,
            permissions,
            channels,
            collaboration,
            chat,
            notifications,
            presence,
            storage,
            rates,
            shutdown,
            log,
            open_files_needed: open_files as u64,
            notes: checker.finish()?,
        })
    }
}
