//! From a configuration to a running engine.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::TcpListener;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::thread;

use shardwire_shards::bounds::FLUSH_SLICE;
use shardwire_shards::mesh::MailboxEnds;
use shardwire_shards::permissions::Access;
use shardwire_shards::placement::{Placement, Rule};
use shardwire_shards::rate_limits::{Rate, Rates};
use shardwire_shards::vocabulary::{CloseCause, Now, ShardId};
use shardwire_shards::{
    ApplicationRoutes, AuthenticationTimes, CompressionSettings, NodeCount, Shard, ShardSettings,
};

use super::certificates::Certificates;
use super::ending::Endings;
use super::error::StartError;
use super::handle::{EngineHandle, Inner};
use super::inbox::Inboxes;
use super::lifecycle::Threads;
use super::live::Live;
use super::notify::Unreached;
use super::phase::{Phase, PhaseFlag};
use super::shard_loop::{LoopParts, RunningShard};
use super::storing;
use crate::admin;
use crate::auth::{Gate, Verifier};
use crate::config::{
    AuthenticationType, Config, DirectDescriptors, DriverChoice, Environment, MissingOrigin,
    PlacementRule, RateSettings, RatesSettings, Settings,
};
use crate::handlers::{
    Context, Failure, FromMessage, HandlerError, Handlers, HandlersBuilder, Message, Next, Tasks,
};
use crate::listen::{Origins, Proxies, Routes};
use crate::runtime::preflight::{self, Direct, Needs, listen_error};
use crate::runtime::{
    Clock, Driver, DriverKind, DriverOptions, ShardDriver, accept_with_first_bytes, attach_ip_hash,
    cores, listen_group, spawn_shard,
};
use crate::telemetry::{Watch, Watchdog};

/// The engine: see [`Engine::builder`].
#[derive(Debug)]
pub struct Engine;

impl Engine {
    /// Begins an engine with this configuration.
    ///
    /// ```no_run
    /// use shardwire::{Engine, config::Config};
    ///
    /// let engine = Engine::builder(Config::default()).start()?;
    /// println!("listening on {}", engine.local_address());
    /// engine.publish("news", "hello")?;
    /// engine.drain_and_stop()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder(config: Config) -> EngineBuilder {
        EngineBuilder {
            config,
            verifier: None,
            handlers: HandlersBuilder::default(),
        }
    }
}

/// An engine that is not started yet.
#[must_use = "an engine that is built does nothing until it is started"]
pub struct EngineBuilder {
    config: Config,
    verifier: Option<Arc<dyn Verifier>>,
    handlers: HandlersBuilder,
}

impl fmt::Debug for EngineBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineBuilder")
            .field("config", &self.config)
            .field("handlers", &self.handlers)
            .field("verifier", &self.verifier.is_some())
            .finish()
    }
}

impl EngineBuilder {
    /// Lets `verifier` find out who connects (contract M8, M11); see [`Verifier`]. `authentication.type` is then `"custom"`, or left
    /// out.
    pub fn verifier(mut self, verifier: impl Verifier) -> Self {
        self.verifier = Some(Arc::new(verifier));
        self
    }

    /// Handles messages of type `kind`, also instead of a built-in one. The second parameter of the handler is a
    /// [`Message`], or a [`Json<T>`](crate::Json) for a message with the shape of `T`.
    ///
    /// A connection's messages are handled one after the other; while a handler awaits, that connection waits, and nobody else.
    /// The future stays on the connection's core and may call any async library, whose runtime wakes it from its own threads.
    ///
    /// ```
    /// # use shardwire::{Context, Engine, Json, config::Config};
    /// #[derive(serde::Deserialize)]
    /// struct Chat { room: String, text: String }
    ///
    /// let engine = Engine::builder(Config::default()).route("chat:message", async |context: Context, chat: Json<Chat>| {
    ///     let from = context.user().unwrap_or("somebody");
    ///     context.publish(&chat.room, &format!("{from}: {}", chat.text)).map_err(shardwire::HandlerError::failed)
    /// });
    /// ```
    pub fn route<F, M>(mut self, kind: &str, handler: F) -> Self
    where
        F: AsyncFn(Context, M) -> Result<(), HandlerError> + Send + Sync + 'static,
        M: FromMessage + 'static,
    {
        self.handlers.route(kind, handler);
        self
    }

    /// Puts `middleware` around every message, built-in types included, inside of what was put before (contract M26).
    pub fn middleware<F>(mut self, middleware: F) -> Self
    where
        F: AsyncFn(Context, Message, Next) -> Result<(), HandlerError> + Send + Sync + 'static,
    {
        self.handlers.middleware(middleware);
        self
    }

    /// Calls `hook` for every new connection; what the client sends is looked at after it has returned (contract M27).
    pub fn on_connect<F>(mut self, hook: F) -> Self
    where
        F: AsyncFn(Context) -> Result<(), HandlerError> + Send + Sync + 'static,
    {
        self.handlers.on_connect(hook);
        self
    }

    /// Calls `hook` for every connection that has ended, with its cause; [`Context::close_reason`] has the client's words for it, if there
    /// are any (contract M29). What it sends to that connection goes nowhere.
    pub fn on_close<F>(mut self, hook: F) -> Self
    where
        F: AsyncFn(Context, CloseCause) + Send + Sync + 'static,
    {
        self.handlers.on_close(hook);
        self
    }

    /// Calls `hook` when a handler, a middleware or the connect hook gives an error, panics or takes too long (contract M29, K11), for
    /// instance to tell others. Whoever ends with [`HandlerError::Refused`] has answered, and not failed. A connection that breaks the
    /// protocol is no handler's failure: the close hook hears of it.
    pub fn on_error<F>(mut self, hook: F) -> Self
    where
        F: AsyncFn(Context, Failure) + Send + Sync + 'static,
    {
        self.handlers.on_error(hook);
        self
    }

    /// Calls `hook` when a notification reached no connection of its user, so that the service can reach the user by another way: it was
    /// sent while none was there, or those that were there are gone before they took it. Once for each notification, on the core that is
    /// home of the user; the notification waits in the inbox all the same.
    ///
    /// ```
    /// # use shardwire::{Engine, EngineHandle, Unreached, config::Config};
    /// # async fn send_mail(to: &str, about: &str) {}
    /// let engine = Engine::builder(Config::default()).on_unreached(async |_engine: EngineHandle, missed: Unreached| {
    ///     send_mail(&missed.user, &missed.notification.title).await;
    /// });
    /// ```
    pub fn on_unreached<F>(mut self, hook: F) -> Self
    where
        F: AsyncFn(EngineHandle, Unreached) + Send + Sync + 'static,
    {
        self.handlers.on_unreached(hook);
        self
    }

    /// Asks `check` before a client may subscribe or publish (decision D5), behind the rules of `[permissions]`: it is asked for what
    /// they allow, and what it says no to is answered "Not permitted" (115). What handlers and the program do themselves, it is not
    /// asked for.
    ///
    /// It is asked in the middle of a shard's turn, for every publication: it answers at once, from memory. What must be looked up is
    /// looked up once, by the connect hook, and kept: as a [tag](Context::tag), which the check sees. A check that takes more than
    /// 5 ms is named in the log; one that panics refuses.
    ///
    /// ```
    /// # use shardwire::{Access, Action, Engine, config::Config};
    /// let engine = Engine::builder(Config::default()).authorize(|access: &Access<'_>| match access.action {
    ///     Action::Publish => access.tags.iter().any(|tag| **tag == *"moderator"),
    ///     _ => true,
    /// });
    /// ```
    pub fn authorize(
        mut self,
        check: impl Fn(&Access<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.handlers.authorize(check);
        self
    }

    /// What a simulation takes of it: a verifier has nobody to look at there.
    #[cfg(feature = "testing")]
    pub(crate) fn into_simulation(self) -> (Config, HandlersBuilder) {
        (self.config, self.handlers)
    }

    /// Checks configuration and machine, binds, starts one thread per shard, and returns when all of them serve.
    ///
    /// # Errors
    /// [`StartError`], with everything that is wrong; nothing is left running then.
    pub fn start(mut self) -> Result<EngineHandle, StartError> {
        if self.verifier.is_some() {
            let kind = &mut self.config.authentication.kind;
            kind.get_or_insert(AuthenticationType::Custom);
        }
        let settings = self.config.check_with_files(&environment()?)?;
        for note in &settings.notes {
            tracing::info!("{note}");
        }
        let gate = Gate::open(&settings.authentication, self.verifier)?;
        start(self.config, &settings, gate, self.handlers.build())
    }
}

/// What the machine gives this process; raises the soft limit of open files to the hard one on the way.
pub(super) fn environment() -> Result<Environment, StartError> {
    let limit = preflight::open_file_limit().map_err(|fault| StartError::Preflight(vec![fault]))?;
    Ok(Environment::detect(limit))
}

fn start(
    config: Config,
    settings: &Settings,
    gate: Option<Gate>,
    handlers: Handlers,
) -> Result<EngineHandle, StartError> {
    let count = settings.shards.count;
    let needs = Needs {
        shards: count,
        max_connections: Some(settings.connections.max_connections),
        direct: direct(settings.shards.direct_descriptors),
    };
    let plan =
        preflight::check(&needs, driver(settings.shards.driver)).map_err(StartError::Preflight)?;
    let (certificates, tls) = match &settings.listen.tls {
        Some(tls) => {
            let (certificates, config) = Certificates::read(tls)?;
            (Some(certificates), Some(config))
        }
        None => (None, None),
    };
    let shards = u16::try_from(count).expect("the configuration allows at most 256 shards");
    let placement = Placement::new(rule(settings.shards.placement), shards);
    let wanted = settings.listen.address;
    let refused = |source| StartError::Preflight(vec![listen_error(wanted, source)]);
    let listeners =
        listen_group(wanted, count, u32::from(settings.listen.backlog)).map_err(refused)?;
    for listener in &listeners {
        if let Err(error) = accept_with_first_bytes(listener) {
            tracing::debug!(%error, "connections are accepted before their first bytes");
        }
    }
    let address = listeners[0].local_addr().map_err(refused)?;
    let proxies = proxies(settings);
    // The kernel sees the proxies' addresses, not the clients': steered by those, all clients of one proxy would meet on one shard
    // and be handed off from there. Unsteered they are spread, and the shard that reads who comes hands off.
    let steered = settings.shards.kernel_steering && count > 1 && !proxies.in_use();
    if placement.rule() == Rule::IpHash && steered {
        steer(&listeners);
    }

    let admin = match settings.admin.address {
        None => None,
        Some(address) => Some(
            admin::bind(address)
                .map_err(|source| StartError::Preflight(vec![listen_error(address, source)]))?,
        ),
    };
    let admin_address = admin.as_ref().map(|(_, address)| *address);

    let clock = Clock::start();
    let node_count = NodeCount::default();
    let ends = MailboxEnds::connect(shards);
    let (inboxes, receivers) = Inboxes::new(shards, ends[0].sleepers());
    let routes = Routes {
        echo: settings.echo.enabled,
        page: settings.page.enabled,
        gate: gate.map(Arc::new),
        origins: Arc::new(Origins {
            allowed: settings.listen.origins.clone(),
            missing: settings.listen.missing_origin == MissingOrigin::Allow,
        }),
        protocols: settings.connections.protocols.clone().into(),
    };
    let verifies = routes.gate.is_some();
    let application = handlers.application_routes();
    let shard_settings = Arc::new(shard_settings(settings, application, verifies));
    let cores = if settings.shards.pin {
        cores::allowed_cores().unwrap_or_default()
    } else {
        Vec::new()
    };
    let (storage, stored) = storing::open(
        settings.storage.as_ref(),
        &shard_settings,
        placement,
        &inboxes,
    )?;
    let handler_timeout_ms = settings.handlers.timeout_ms;
    let endings = Endings::default();
    let watch = Watch::new(shards);
    let inner = Inner {
        address,
        admin_address,
        placement,
        inboxes: inboxes.clone(),
        node_count: node_count.clone(),
        clock,
        phase: PhaseFlag::default(),
        watch: watch.clone(),
        notifications: settings.notifications,
        max_outgoing: AtomicUsize::new(settings.connections.max_outgoing_message_size),
        live: Mutex::new(Live::new(
            config,
            settings.clone(),
            handlers.application_routes(),
            verifies,
        )),
        threads: Mutex::new(Threads::default()),
        endings: endings.clone(),
        certificates,
        storage,
    };
    let handle = EngineHandle {
        inner: Arc::new(inner),
    };

    // First, so that whoever asks whether we are ready gets an answer from the start.
    if let Some((listener, address)) = admin {
        let started = admin::start(listener, handle.clone()).map_err(StartError::Admin)?;
        handle.with_threads(|threads| threads.admin = Some(started));
        tracing::info!(%address, "admin port open");
    }
    let options = DriverOptions {
        table_size: plan.table_size,
        ..DriverOptions::default()
    };
    let shard_parts = ends.into_iter().zip(receivers).zip(listeners).zip(stored);
    for (index, (((ends, receiver), listener), stored)) in shard_parts.enumerate() {
        let parts = LoopParts {
            clock,
            inbox: receiver,
            inboxes: inboxes.clone(),
            node_count: node_count.clone(),
            placement,
            routes: routes.clone(),
            proxies: proxies.clone(),
            connection_timeout_ms: settings.connections.connection_timeout_ms,
            tls: tls.clone(),
            storage: stored.link,
            _ending: endings.guard(),
        };
        let (settings, node_count, inboxes) = (
            Arc::clone(&shard_settings),
            node_count.clone(),
            inboxes.clone(),
        );
        let (handlers, engine) = (handlers.clone(), handle.clone());
        let make = move |driver: ShardDriver| {
            inboxes.hang_bell(ShardId(index as u16), driver.bell());
            let id = ShardId(index as u16);
            let tasks = Tasks::new(handlers, engine, id, inboxes, handler_timeout_ms);
            let mut shard = Shard::new(settings, placement, ends, node_count, seed());
            let now = Now {
                ms: clock.elapsed_ms(),
                unix_ms: clock.unix_ms(),
            };
            for log in stored.logs {
                shard.restore(now, log);
            }
            RunningShard::new(parts, shard, driver, tasks, listener)
        };
        match spawn_shard(
            index,
            cores::core_of(index, &cores),
            plan.driver,
            options,
            make,
        ) {
            Ok(thread) => handle.with_threads(|threads| threads.shards.push(thread)),
            Err(error) => {
                // Those that run already are told to stop; their error would only hide this one.
                let _ = handle.drain_and_stop();
                return Err(error.into());
            }
        }
    }
    if let Err(error) = handle.watch_certificates() {
        tracing::warn!(%error, "nobody looks whether the certificate has changed: reload it by SIGHUP");
    }
    start_watchdog(&handle, watch)?;
    handle.inner.phase.advance(Phase::Running);
    tracing::info!(%address, shards, placement = ?placement.rule(), driver = ?plan.driver, "engine started");
    Ok(handle)
}

fn start_watchdog(handle: &EngineHandle, watch: Watch) -> Result<(), StartError> {
    let watchdog = Watchdog::new(handle.inner.inboxes.clone(), watch);
    let endings = handle.inner.endings.clone();
    let thread = thread::Builder::new()
        .name("watchdog".to_owned())
        .spawn(move || watchdog.run(|pause| endings.wait_for_one_at_most(pause)));
    match thread {
        Ok(thread) => {
            handle.with_threads(|threads| threads.watchdog = Some(thread));
            Ok(())
        }
        Err(error) => {
            let _ = handle.drain_and_stop();
            Err(StartError::Watchdog(error))
        }
    }
}

/// Lets the kernel place connections by address. Where it refuses, shards hand them off instead, which costs a little more.
fn steer(listeners: &[TcpListener]) {
    if let Err(error) = attach_ip_hash(&listeners[0], listeners.len()) {
        tracing::warn!(%error, "the kernel does not steer connections by address; shards hand them off instead");
    }
}

fn proxies(settings: &Settings) -> Proxies {
    let proxy = &settings.listen.proxy;
    Proxies {
        protocol: proxy.protocol,
        header: proxy.header,
        trusted: proxy.trusted.clone(),
    }
}

fn driver(choice: DriverChoice) -> Option<DriverKind> {
    match choice {
        DriverChoice::Auto => None,
        DriverChoice::IoUring => Some(DriverKind::Uring),
        DriverChoice::Epoll => Some(DriverKind::Epoll),
    }
}

fn direct(choice: DirectDescriptors) -> Direct {
    match choice {
        DirectDescriptors::Auto => Direct::WhereFilesAreFew,
        DirectDescriptors::On => Direct::Always,
        DirectDescriptors::Off => Direct::Never,
    }
}

pub(super) fn rule(rule: PlacementRule) -> Rule {
    match rule {
        PlacementRule::Accept => Rule::Accept,
        PlacementRule::IpHash => Rule::IpHash,
        PlacementRule::UserHash => Rule::UserHash,
    }
}

pub(super) fn shard_settings(
    settings: &Settings,
    routes: ApplicationRoutes,
    verifies: bool,
) -> ShardSettings {
    let connections = &settings.connections;
    ShardSettings {
        max_connections: connections.max_connections,
        max_connections_per_user: connections
            .max_connections_per_user
            .map(|limit| limit as usize),
        max_connections_per_ip: connections
            .max_connections_per_ip
            .map(|limit| limit as usize),
        max_message_size: connections.max_message_size,
        max_channels: connections.max_channels,
        heartbeat_interval_ms: connections.heartbeat_interval_ms,
        heartbeat_timeout_ms: connections.heartbeat_timeout_ms,
        close_timeout_ms: connections.close_timeout_ms,
        outbox_soft_limit: connections.outbox_soft_limit,
        outbox_hard_limit: connections.outbox_hard_limit,
        flush_slice: FLUSH_SLICE,
        routes,
        compression: CompressionSettings {
            enabled: settings.compression.enabled,
            threshold: settings.compression.threshold,
            level: settings.compression.level,
            context_takeover: settings.compression.context_takeover,
            context_memory: settings.compression.context_memory,
        },
        publish_shard_counts: settings.page.enabled,
        permissions: settings.permissions.clone(),
        rates: rates(&settings.rates),
        channels: settings.channels.clone(),
        collaboration: settings.collaboration,
        chat: settings.chat,
        notifications: settings.notifications,
        presence: settings.presence.clone(),
        authentication: verifies.then_some(AuthenticationTimes {
            timeout_ms: settings.authentication.timeout_ms,
            warning_ms: settings.authentication.expiry_warning_ms,
            grace_ms: settings.authentication.expiry_grace_ms,
        }),
    }
}

/// A number that no other shard and no other start has, by the system's chance: what hash maps are seeded with.
fn seed() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

fn rates(settings: &RatesSettings) -> Rates {
    let rate = |rate: Option<RateSettings>| {
        rate.map(|rate| Rate::new(rate.count, rate.period_ms, rate.burst))
    };
    Rates {
        connection_messages: rate(settings.connection_messages),
        connection_bytes: rate(settings.connection_bytes),
        user_messages: rate(settings.user_messages),
        ip_messages: rate(settings.ip_messages),
        new_connections: rate(settings.new_connections),
        // Unlimited: nobody refuses so many in a lifetime.
        refused: rate(settings.refused_messages).unwrap_or(Rate::new(u64::MAX, 1, u64::MAX)),
    }
}
