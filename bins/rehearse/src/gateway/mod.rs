//! The one endpoint for every service: forwards to moto what it does not need, answers itself what moto only pretends.
