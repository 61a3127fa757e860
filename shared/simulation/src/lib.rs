//! Simulations that drive the functions' own code, and that no release contains.
//!
//! | module | owns |
//! |---|---|
//! | `soak` | pushes, lost events and deaths, in virtual time |
//! | `lease` | the lease's model, all of whose states are explored |
//! | `hostile` | everything that parses, given hostile input |

#![cfg(test)]

mod hostile;
mod lease;
mod soak;
