//! The journal of every AWS call: service, action, status, milliseconds.
