//! The metadata service at 169.254.169.254, per instance (IMDSv2), and the door through which the agents ask for work.
