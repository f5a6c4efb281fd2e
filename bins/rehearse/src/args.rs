//! What the user typed, as plain data.
