//! What each subcommand does: up, down, status, env, calls, exec.
