//! What gyron's steps share: configuration, records, AWS clients, waiting, the console, child processes, exit codes.

pub mod archive;
pub mod aws;
pub mod config;
pub mod console;
pub mod current;
pub mod edge;
pub mod exit;
pub mod failure;
pub mod group;
pub mod ids;
pub mod instance;
pub mod junit;
pub mod lease;
pub mod names;
pub mod probe;
pub mod program;
pub mod records;
pub mod registry;
pub mod run_command;
pub mod step;
pub mod stop;
pub mod version;
pub mod volume;
pub mod wait;
pub mod whereabouts;
