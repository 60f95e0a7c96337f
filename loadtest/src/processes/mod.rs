//! One run in one or several processes.
//!
//! One process has one thread and one core; more load needs more of them. *Lives here*: the conductor, who lets all processes
//! begin together, watches the server, shows progress and adds the results up; the messages between it and the
//! processes; and starting them. With one process conductor and worker share a thread and a queue. *Does not live here*:
//! what a worker does in between (`scenarios/`).
//!
//! *Invariants*: a worker that ends early ends the run, with its reason. Every wait of a worker has a deadline, and a worker whose
//! conductor is gone ends at its next message.
//!
//! *Called by* `main.rs`. *Calls* `scenarios/`, `measure/`, `report/`. *Tests*: the conductor beside the code, several processes in
//! `tests/`.

pub mod conductor;
pub mod launch;
pub mod link;
pub mod messages;
pub mod served;
pub mod server;
pub mod worker;
