//! checks
pub mod tract;
pub mod vectors;
