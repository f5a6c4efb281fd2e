//! The one table of exit codes, the same for every gyron program.

use std::process::ExitCode;

/// How a run of a gyron program ended, as the shell sees it.
///
/// "It said no" (a verdict) is never mixed with "we broke" (everything else).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: it said no: a failed spec or check, a plan against the policy, a breach that was rolled back.
    No,
    /// 2: usage or configuration.
    Usage,
    /// 3: refused, since the world is not as the records say.
    Refused,
    /// 4: AWS refused or failed.
    Aws,
    /// 5: a program gyron ran is missing or failed.
    Program,
    /// 6: a deadline passed.
    Deadline,
    /// 70: a defect of gyron itself (`EX_SOFTWARE` of sysexits.h).
    Defect,
    /// 130: stopped by SIGINT, after cleaning up.
    Interrupted,
    /// 143: stopped by SIGTERM, after cleaning up.
    Terminated,
}

impl Exit {
    /// Every way to end, in the order of their codes.
    pub const ALL: [Exit; 10] = [
        Exit::Done,
        Exit::No,
        Exit::Usage,
        Exit::Refused,
        Exit::Aws,
        Exit::Program,
        Exit::Deadline,
        Exit::Defect,
        Exit::Interrupted,
        Exit::Terminated,
    ];

    /// The number the shell sees.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::No => 1,
            Exit::Usage => 2,
            Exit::Refused => 3,
            Exit::Aws => 4,
            Exit::Program => 5,
            Exit::Deadline => 6,
            Exit::Defect => 70,
            Exit::Interrupted => 130,
            Exit::Terminated => 143,
        }
    }

    /// What the code means, as `--help` and the README print it.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Exit::Done => "done",
            Exit::No => "it said no: a failed spec or check, a plan against the policy, a breach that was rolled back",
            Exit::Usage => "usage or configuration",
            Exit::Refused => "refused, since the world is not as the records say",
            Exit::Aws => "AWS refused or failed",
            Exit::Program => "a program gyron ran is missing or failed",
            Exit::Deadline => "a deadline passed",
            Exit::Defect => "a defect of gyron itself",
            Exit::Interrupted => "stopped by SIGINT, after cleaning up",
            Exit::Terminated => "stopped by SIGTERM, after cleaning up",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}
