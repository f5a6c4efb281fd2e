//! On the rehearsal cloud.
