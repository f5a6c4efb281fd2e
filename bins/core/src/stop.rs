//! A signal asks a step to stop; the step ends its current call, cleans up, and says so.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::exit::Exit;
use crate::failure::{Failure, Result};

/// Whether, and by what, the step has been asked to stop. Clones see the same.
///
/// Calls to AWS are never dropped half-way (a RunInstances whose answer is lost leaks an instance): what waits or runs
/// a program looks here, everything else runs to its end.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<Option<Exit>>);

impl Stop {
    /// Listens to SIGINT and SIGTERM from now on. A second signal while cleaning up ends the process at once.
    ///
    /// # Errors
    /// Where signal handlers can't be installed.
    pub fn listen() -> std::io::Result<Self> {
        let (tell, told) = watch::channel(None);
        let mut interrupts = signal(SignalKind::interrupt())?;
        let mut terminations = signal(SignalKind::terminate())?;
        tokio::spawn(async move {
            loop {
                let by = tokio::select! {
                    _ = interrupts.recv() => Exit::Interrupted,
                    _ = terminations.recv() => Exit::Terminated,
                };
                if tell.borrow().is_some() {
                    crate::console::Console::new()
                        .say("stopped again while cleaning up: what is tagged with this run may remain");
                    std::process::exit(by.code().into());
                }
                crate::console::Console::new().say("stopping: cleaning up first (again to leave at once)");
                if tell.send(Some(by)).is_err() {
                    return;
                }
            }
        });
        Ok(Stop(told))
    }

    /// Never asked to stop: for clean-up itself, and for tests.
    #[must_use]
    pub fn never() -> Self {
        let (tell, told) = watch::channel(None);
        // The sender has to live for `asked` to stay pending.
        std::mem::forget(tell);
        Stop(told)
    }

    /// Asked by the program itself: for what runs beside its work and ends with it.
    #[must_use]
    pub fn of_own() -> (Asker, Self) {
        let (tell, told) = watch::channel(None);
        (Asker(tell), Stop(told))
    }

    /// Resolves once the step has been asked to stop.
    pub async fn asked(&self) -> Exit {
        let mut told = self.0.clone();
        match told.wait_for(Option::is_some).await.map(|by| *by) {
            Ok(Some(by)) => by,
            _ => std::future::pending().await,
        }
    }

    /// Goes on unless the step has been asked to stop.
    ///
    /// # Errors
    /// The failure that ends the step (130 or 143).
    pub fn check(&self) -> Result<()> {
        match *self.0.borrow() {
            Some(by) => Err(stopped(by)),
            None => Ok(()),
        }
    }

    /// Runs `work`, which may be dropped half-way, unless the step is asked to stop first.
    ///
    /// # Errors
    /// What `work` says, or the failure that ends the step (130 or 143).
    pub async fn or<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            by = self.asked() => Err(stopped(by)),
            done = work => done,
        }
    }
}

/// Asks what holds the matching [`Stop`] to end.
#[derive(Debug)]
pub struct Asker(watch::Sender<Option<Exit>>);

impl Asker {
    /// Asks; `by` says which signal it stands for.
    pub fn ask(&self, by: Exit) {
        // Whoever was to be asked may have ended by itself.
        let _ = self.0.send(Some(by));
    }
}

fn stopped(by: Exit) -> Failure {
    Failure::new(by, if by == Exit::Interrupted { "stopped by SIGINT" } else { "stopped by SIGTERM" })
}
