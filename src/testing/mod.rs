//! Testing an application's handlers without sockets, threads and waiting (cargo feature `testing`).
//!
//! **Lives here:** [`Simulation`], an engine on the test's own thread; [`TestClient`], the other end of a connection;
//! [`VirtualClock`], the only clock there is; the loop that drives the real shards (`world.rs`). **Does not:** sockets, TLS, upgrade
//! requests, verifiers (a client comes as whoever the test says), the admin port: those are tested on a started engine.
//! What is kept on disk counts as stored at once, no file is touched, and it ends with the simulation.
//! **Invariants:** nothing moves but when the test asks; the same test does the same every time; time passes only by
//! [`Simulation::advance`].
//! **Called by:** tests of embedding services. **Calls:** `engine/` (to build one), `shards/`, `handlers/`, `protocol/`.
//! **Tests:** `tests/testing.rs`, and the example below.
//!
//! ```
//! use serde_json::json;
//! use shardwire::{Context, Engine, HandlerError, Message, config::Config};
//!
//! async fn greet(context: Context, _: Message) -> Result<(), HandlerError> {
//!     let name = context.user().unwrap_or("stranger");
//!     context.send(&json!({"hello": name})).map_err(HandlerError::failed)
//! }
//!
//! let simulation = Engine::builder(Config::default()).route("greet", greet).simulate()?;
//! let ann = simulation.connect_as("ann");
//! assert_eq!(ann.ask(&json!({"type": "greet"})), json!({"hello": "ann"}));
//! # Ok::<(), shardwire::config::Faults>(())
//! ```

mod client;
mod clock;
mod disk;
mod world;

use std::cell::RefCell;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use shardwire_shards::vocabulary::{Identity, Standing};

pub use client::TestClient;
pub use clock::{Sleep, VirtualClock};

use crate::config::Faults;
use crate::engine::{EngineBuilder, EngineHandle, Simulated};
use world::World;

/// Where clients come from unless the test says otherwise.
const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// An engine on the test's own thread: the real shards and the application's handlers, driven by hand in virtual time.
pub struct Simulation(Rc<RefCell<World>>);

impl fmt::Debug for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Simulation").finish_non_exhaustive()
    }
}

impl EngineBuilder {
    /// Builds the engine for a test: no socket is opened and no thread started. The configuration counts as for
    /// [`start`](Self::start), apart from what concerns sockets, files and verifiers; without `shards.count` there is one shard.
    ///
    /// # Errors
    /// All that is wrong with the configuration.
    pub fn simulate(self) -> Result<Simulation, Faults> {
        self.simulate_with(VirtualClock::default())
    }

    /// As [`simulate`](Self::simulate), by this clock, which handlers may have got before: what sleeps in virtual time sleeps by it. One
    /// clock is for one simulation.
    ///
    /// # Errors
    /// As `simulate`.
    pub fn simulate_with(self, clock: VirtualClock) -> Result<Simulation, Faults> {
        let (config, handlers) = self.into_simulation();
        let world = World::new(Simulated::new(config, handlers)?, clock);
        Ok(Simulation(Rc::new(RefCell::new(world))))
    }
}

impl Simulation {
    /// A client that nobody knows.
    #[must_use]
    pub fn connect(&self) -> TestClient {
        self.connect_with(LOCALHOST, Standing::Unverified(None))
    }

    /// A client that gave itself this name, while nobody verifies.
    #[must_use]
    pub fn connect_as(&self, user: &str) -> TestClient {
        self.connect_with(LOCALHOST, Standing::Unverified(Some(user.into())))
    }

    /// A client that a verifier would have found to be this.
    #[must_use]
    pub fn connect_verified(&self, identity: Identity) -> TestClient {
        self.connect_with(LOCALHOST, Standing::Verified(identity))
    }

    /// A client at this address.
    ///
    /// # Panics
    /// When there is no room for another connection, which a real client would be told by an HTTP status (503).
    #[must_use]
    pub fn connect_with(&self, address: IpAddr, standing: Standing) -> TestClient {
        let number = self.0.borrow_mut().connect(address, standing);
        self.settle();
        TestClient::new(Rc::clone(&self.0), number)
    }

    /// The engine, as the program outside of handlers has it. What it is asked to do is done by the next [`settle`](Self::settle).
    /// Nobody ends a simulation but its test: do not wait for its end.
    #[must_use]
    pub fn engine(&self) -> EngineHandle {
        self.0.borrow().handle()
    }

    /// The clock, for code that sleeps.
    #[must_use]
    pub fn clock(&self) -> VirtualClock {
        self.0.borrow().clock()
    }

    /// Runs everything that can run now. Clients do this by themselves when they send or look what has come.
    ///
    /// # Panics
    /// When it never comes to rest: handlers that wake themselves without end.
    pub fn settle(&self) {
        self.0.borrow_mut().settle();
    }

    /// Lets time pass, with everything that falls due in it, in order.
    ///
    /// # Panics
    /// As [`settle`](Self::settle).
    pub fn advance(&self, by: Duration) {
        self.0.borrow_mut().advance(by);
    }

    /// Runs until `done`, for handlers that await something of the real world, such as a service on tokio. Virtual time stands still
    /// meanwhile. False: it did not come within `limit` of real time.
    pub fn settle_until(&self, limit: Duration, mut done: impl FnMut() -> bool) -> bool {
        let end = Instant::now() + limit;
        loop {
            self.settle();
            if done() {
                return true;
            }
            if Instant::now() >= end {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
