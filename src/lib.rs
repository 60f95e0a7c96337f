//! placeholder

pub mod config;
pub mod telemetry;
