//! Log lines and metrics.

pub(crate) mod log;
pub(crate) mod metrics;
