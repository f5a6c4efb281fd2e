//! The compiler of config 2.1: a config and its orbs become one config in which nothing is left to expand, and the plan
//! of what is to be run.

pub mod agent;
mod compile;
mod duration;
mod executors;
mod expression;
pub mod fault;
pub mod given;
mod jobs;
mod known;
mod logic;
mod nearest;
pub mod orbs;
pub mod pack;
mod parameters;
pub mod pipeline;
pub mod plan;
pub mod registry;
pub mod run;
mod scope;
pub mod serve;
mod shape;
pub mod source;
mod steps;
pub mod sums;
mod tasks;
mod template;
mod workflows;
pub mod yaml;

pub use compile::{Compiled, check_orb, compile};

#[cfg(test)]
mod tests;
