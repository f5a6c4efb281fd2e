//! What gyron's steps share: configuration, records, AWS clients, waiting, the console, child processes, exit codes.

pub mod exit;
pub mod failure;
