//! The conformance suite: operators against published cases, model files against hostile hands, networks against tract, the
//! firmware against the host, and the command against its users.

mod commands;
mod conformance;
mod device;
mod model_file;
mod operators;
mod rings;
mod support;
