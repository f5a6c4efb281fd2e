//! SSM Run Command that really runs: documents, commands, invocations, and the agents that carry them out.
