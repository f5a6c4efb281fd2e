//! The rehearsal cloud that `scripts/test` brings up for the tests.
