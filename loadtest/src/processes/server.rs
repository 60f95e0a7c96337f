//! What the server costs: processor time and memory of the processes named by `--pid`.

use crate::measure::process::{Meter, Subject, Usage};
use crate::report::ServerCost;

/// Watches the server through the run.
pub struct Watch {
    pids: Vec<u32>,
    opening: Vec<Meter>,
    measuring: Vec<Meter>,
    cost: ServerCost,
}

impl Watch {
    /// Begins before the first connection.
    pub fn new(pids: Vec<u32>) -> Self {
        let opening = meters(&pids);
        let cost = ServerCost {
            pids: pids.clone(),
            resident_before: resident(&pids),
            ..ServerCost::default()
        };
        Self {
            pids,
            opening,
            measuring: Vec::new(),
            cost,
        }
    }

    /// All connections are open; so many.
    pub fn opened(&mut self, connections: u64) {
        self.cost.connections = connections;
        self.cost.opening = sum(&self.opening);
    }

    /// The measurement begins: connections are warm.
    pub fn measuring(&mut self) {
        self.measuring = meters(&self.pids);
        self.cost.resident_open = resident(&self.pids);
    }

    /// The measurement ends, connections are still open.
    pub fn measured(&mut self) {
        self.cost.measured = sum(&self.measuring);
        self.cost.resident_end = resident(&self.pids);
    }

    /// What was found; `None` if nothing was watched.
    pub fn into_cost(self) -> Option<ServerCost> {
        (!self.pids.is_empty()).then_some(self.cost)
    }
}

fn meters(pids: &[u32]) -> Vec<Meter> {
    pids.iter()
        .map(|pid| Meter::start(Subject::Pid(*pid)))
        .collect()
}

fn sum(meters: &[Meter]) -> Option<Usage> {
    let mut total: Option<Usage> = None;
    for meter in meters {
        let usage = meter.stop()?;
        let total = total.get_or_insert_default();
        total.cpu_seconds += usage.cpu_seconds;
        total.waiting_seconds += usage.waiting_seconds;
        total.wall_seconds = usage.wall_seconds;
    }
    total
}

fn resident(pids: &[u32]) -> Option<u64> {
    pids.iter()
        .map(|pid| Subject::Pid(*pid).resident_bytes())
        .sum()
}
