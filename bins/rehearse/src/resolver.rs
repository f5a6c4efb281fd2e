//! The resolver of steps and instances: answers balancers' names, passes on all else.
