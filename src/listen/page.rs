//! The page at `/`: what a newcomer sees one minute after the first start.

/// One file, no build step, nothing loaded from elsewhere.
pub(super) const PAGE: &str = include_str!("page/index.html");
